"""Celery with prefork workers: the parent imports what each worker would; each worker has a client of its own."""

import os

from celery import Celery

import liverouter

liverouter.preload()

REDIS = os.environ.get("CELERY_REDIS_URL", "redis://127.0.0.1:6379/0")
app = Celery("examples.celery_tasks", broker=REDIS, backend=REDIS)


@app.task
def summarize(text: str) -> str:
    """Return a summary of *text*, by whichever model is configured when the task runs."""
    return liverouter.get_chat_model().invoke(f"Summarize in one sentence: {text}").text
