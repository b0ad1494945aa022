"""A Deep Agent whose sub-agent has a model of its own: rows `llm:planner` and `llm:worker` say which, live."""

from deepagents import create_deep_agent

from liverouter import get_chat_model

agent = create_deep_agent(
    model=get_chat_model("planner"),  # a name that no row configures serves as the default does
    system_prompt="You plan, and have the researcher look things up.",
    subagents=[
        {
            "name": "researcher",
            "description": "Looks one thing up.",
            "system_prompt": "Answer in one sentence.",
            "model": get_chat_model("worker"),
        }
    ],
)
result = agent.invoke({"messages": [{"role": "user", "content": "hi"}]})
print(result["messages"][-1].text)
