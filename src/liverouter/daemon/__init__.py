"""What runs beside the library: the service and its page."""
