"""What runs beside the library: the service, its page, the embedded PostgreSQL and the demo."""
