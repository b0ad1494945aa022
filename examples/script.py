"""A script: one answer, and one in pieces."""

from liverouter import get_chat_model

model = get_chat_model()
print(model.invoke("hi").text)
for chunk in model.stream("and now in pieces"):
    print(chunk.text, end="", flush=True)
print()
