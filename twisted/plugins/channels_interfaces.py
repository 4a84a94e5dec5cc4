"""What `twistd channels-interfaces` finds. twistd imports this file for every `--help`, before a reactor is chosen."""
from twisted.application.service import ServiceMaker

serviceMaker = ServiceMaker(
    "channels-interfaces",
    "interfaces.service",
    "Turns HTTP and other protocols into messages for Django Channels workers.",
    "channels-interfaces")
