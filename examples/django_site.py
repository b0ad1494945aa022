"""Django in one file: an async view. A project has settings of its own, and the view stands in an app."""

import os

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from liverouter import get_chat_model

settings.configure(
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "for-this-example-alone"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "testserver"],
)
django.setup()

model = get_chat_model()  # before the loop runs: the first one waits for the settings


async def answer(request: HttpRequest) -> JsonResponse:
    """Answer the question of the address."""
    reply = await model.ainvoke(request.GET["question"])
    return JsonResponse({"answer": reply.text, "served_by": reply.response_metadata["liverouter"]["model"]})


urlpatterns = [path("answer", answer)]
application = get_asgi_application()
