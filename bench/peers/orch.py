"""Peers of the runtime: a fan-out of N independent steps that do nothing.

Reads lines `SYSTEM N` and answers each with the microseconds that one run took, by the clock and of the processor; the
first line it writes names the versions. The process is asked for one run at a time, by `cargo xtask bench`, which takes turns between it and agentd.

    asyncio            N coroutines gathered: the least that Python can take
    langgraph          one node, fanned out with Send, at most 16 at once, nothing kept
    langgraph-sqlite   the same with SqliteSaver, in a fresh thread of a file in the directory given as argument
    dbos-sqlite        a workflow of N steps, one after the other, each recorded in SQLite in that directory
"""

import asyncio
import importlib.metadata
import operator
import os
import sqlite3
import sys
import tempfile
import time
from typing import Annotated, TypedDict

from dbos import DBOS
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

CONCURRENCY = 16


class Outcome(TypedDict):
    wanted: int
    answers: Annotated[list, operator.add]


def spread(state):
    return [Send("step", {"number": number}) for number in range(state["wanted"])]


def step(task):
    return {"answers": [task["number"]]}


def fan_out(saver=None):
    graph = StateGraph(Outcome)
    graph.add_node("step", step)
    graph.add_conditional_edges(START, spread, ["step"])
    graph.add_edge("step", END)
    return graph.compile(checkpointer=saver)


async def gathered(steps):
    async def one(number):
        await asyncio.sleep(0)
        return number

    return await asyncio.gather(*(one(number) for number in range(steps)))


def run_graph(app, steps, thread):
    config = {"configurable": {"thread_id": thread}, "max_concurrency": CONCURRENCY}
    outcome = app.invoke({"wanted": steps, "answers": []}, config)
    assert len(outcome["answers"]) == steps


@DBOS.step()
def recorded(number):
    return number


@DBOS.workflow()
def one_after_the_other(steps):
    return [recorded(number) for number in range(steps)]


def start_dbos(folder):
    url = f"sqlite:///{os.path.join(folder, 'dbos.db')}"
    DBOS(config={"name": "peer", "system_database_url": url, "log_level": "ERROR", "run_migrations": True})
    DBOS.launch()


def main():
    folder = tempfile.TemporaryDirectory(dir=sys.argv[1])
    connection = sqlite3.connect(os.path.join(folder.name, "peer.db"), check_same_thread=False)
    in_memory, kept = fan_out(), fan_out(SqliteSaver(connection))
    start_dbos(folder.name)
    runs = 0
    names = ("langgraph", "langgraph-checkpoint-sqlite", "dbos")
    versions = [f"{name} {importlib.metadata.version(name)}" for name in names]
    print(", ".join([f"CPython {sys.version.split()[0]}", *versions]), flush=True)
    for line in sys.stdin:
        system, steps = line.split()
        steps, runs = int(steps), runs + 1
        begun, worked = time.perf_counter(), time.process_time()
        match system:
            case "asyncio":
                asyncio.run(gathered(steps))
            case "langgraph":
                run_graph(in_memory, steps, str(runs))
            case "langgraph-sqlite":
                run_graph(kept, steps, str(runs))
            case "dbos-sqlite":
                assert len(one_after_the_other(steps)) == steps
            case _:
                sys.exit(f"there is no system {system}")
        took, worked = time.perf_counter() - begun, time.process_time() - worked
        print(f"{took * 1e6:.1f} {worked * 1e6:.1f}", flush=True)


main()
