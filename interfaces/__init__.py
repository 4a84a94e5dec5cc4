"""Interface servers for Django: HTTP and other protocols in Twisted, answered by workers behind a channel layer."""
__version__ = "0.1.0"
