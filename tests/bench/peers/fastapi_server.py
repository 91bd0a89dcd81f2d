"""The Controller behind FastAPI and uvicorn, on a Unix socket: fastapi_server.py SOCKET."""

import sys

import uvicorn
from controller import Controller
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
controller = Controller()


class Params(BaseModel):
    by: int = 1


class Counter(BaseModel):
    counter: int


# Async, so that it runs in the event loop: a plain function would take a thread for each call, which is slower.
@app.post("/increment")
async def increment(params: Params) -> Counter:
    return Counter(**controller.increment({"by": params.by}))


if __name__ == "__main__":
    uvicorn.run(app, uds=sys.argv[1], loop="uvloop", http="httptools", log_level="warning", access_log=False)
