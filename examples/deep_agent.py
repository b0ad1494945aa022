"""A Deep Agent of three named models: rows `llm:planner`, `llm:worker` and `llm:summary` say which, live."""

from deepagents import create_deep_agent
from deepagents.backends import StateBackend
from deepagents.middleware.summarization import SummarizationMiddleware

from liverouter import get_chat_model

planner = get_chat_model("planner")  # a name that no row configures serves as the default does
agent = create_deep_agent(
    model=planner,
    system_prompt="You plan, and have the researcher look things up.",
    subagents=[
        {
            "name": "researcher",
            "description": "Looks one thing up.",
            "system_prompt": "Answer in one sentence.",
            "model": get_chat_model("worker"),
        }
    ],
    middleware=[
        SummarizationMiddleware(  # in place of the one that has the planner write summaries, too
            model=planner,  # whose window is the one that fills
            summarizer=get_chat_model("summary"),
            backend=StateBackend(),
            trigger=("fraction", 0.85),
            keep=("fraction", 0.1),
        )
    ],
)
result = agent.invoke({"messages": [{"role": "user", "content": "hi"}]})
print(result["messages"][-1].text)
