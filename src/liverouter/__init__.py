"""Hot-reloading LLM routing config from PostgreSQL."""
