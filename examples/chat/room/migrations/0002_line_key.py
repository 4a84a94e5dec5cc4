from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("room", "0001_initial"),
    ]

    operations = [
        migrations.AddField("line", "key", models.CharField(max_length=60, null=True, unique=True)),
    ]
