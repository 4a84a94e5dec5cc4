from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("room", "0002_line_key"),
    ]

    operations = [
        migrations.CreateModel(
            name="Device",
            fields=[
                ("name", models.SlugField(max_length=40, primary_key=True, serialize=False)),
                ("temperature", models.FloatField(null=True)),
                ("power", models.CharField(max_length=3)),
                ("at", models.DateTimeField(auto_now=True)),
            ],
        ),
    ]
