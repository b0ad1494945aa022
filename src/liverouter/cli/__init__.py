"""The command line. Only `check`, `demo` and `serve`, which call models, import litellm and langchain."""

from liverouter.cli.app import main

__all__ = ["main"]
