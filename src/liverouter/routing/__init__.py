"""What litellm does for us, and what every call to a provider passes: the only one that knows litellm."""
