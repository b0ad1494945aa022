"""A LangGraph agent with a tool. Every model call follows the rows; `pinned()` freezes one run to one generation."""

from langchain.agents import create_agent

from liverouter import get_chat_model


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


model = get_chat_model()
question = "How is the weather?"

agent = create_agent(model=model, tools=[weather])
print(agent.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1].text)

steady = create_agent(model=model.pinned(), tools=[weather])  # for one long run: no swap in the middle
print(steady.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1].text)
