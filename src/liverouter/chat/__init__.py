"""What LangChain sees: the handle, a request to a generation, its answer and its errors."""
