"""What makes the chat model of each deployment: litellm, or the providers' own LangChain classes."""
