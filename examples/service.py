"""A service: asks every second, and says who answered."""

import time

from liverouter import get_chat_model

model = get_chat_model()
while True:
    answer = model.invoke("hello")
    print(answer.response_metadata["liverouter"]["model"], "says:", answer.text, flush=True)
    time.sleep(1)
