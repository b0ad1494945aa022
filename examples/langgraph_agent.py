"""A LangGraph agent whose tool asks a model of its own. Calls follow the rows; `pinned()` freezes one run."""

from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware

from liverouter import get_chat_model

planner, worker = get_chat_model("planner"), get_chat_model("worker")


def research(question: str) -> str:
    """Look one thing up."""
    return worker.invoke(question).text


summaries = SummarizationMiddleware(
    planner, trigger=("fraction", 0.8), keep=("messages", 6), summarizer=get_chat_model("summary")
)
question = "Do some research on tea."

agent = create_agent(model=planner, tools=[research], middleware=[summaries])
print(agent.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1].text)

steady = create_agent(model=planner.pinned(), tools=[research])  # for one long run: no swap in the middle
print(steady.invoke({"messages": [{"role": "user", "content": question}]})["messages"][-1].text)
