"""The Controller behind grpcio: grpc_server.py async|threads SOCKET.

    service Bench { rpc Increment(Params) returns (Counter); }
    message Params { int64 by = 1; }
    message Counter { int64 counter = 1; }

The messages are made from a descriptor here, as generated code does, so that no compiler is needed.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
from controller import Controller
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

OPTIONS = (("grpc.so_reuseport", 0),)


def messages():
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    for name, field in (("Params", "by"), ("Counter", "counter")):
        message = file.message_type.add(name=name)
        kind = descriptor_pb2.FieldDescriptorProto
        message.field.add(name=field, number=1, type=kind.TYPE_INT64, label=kind.LABEL_OPTIONAL)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.{name}")) for name in ("Params", "Counter")
    ]


Params, Counter = messages()
controller = Controller()


def increment(request, context):
    return Counter(**controller.increment({"by": request.by}))


async def increment_async(request, context):
    return increment(request, context)


def handlers(function):
    handler = grpc.unary_unary_rpc_method_handler(
        function, request_deserializer=Params.FromString, response_serializer=Counter.SerializeToString
    )
    return grpc.method_handlers_generic_handler("bench.Bench", {"Increment": handler})


async def serve_async(place):
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(increment_async),))
    server.add_insecure_port(place)
    await server.start()
    await server.wait_for_termination()


def serve_threads(place):
    # One thread: with more, they only wait for each other.
    server = grpc.server(ThreadPoolExecutor(1), options=OPTIONS)
    server.add_generic_rpc_handlers((handlers(increment),))
    server.add_insecure_port(place)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    way, path = sys.argv[1:]
    if way == "async":
        asyncio.run(serve_async(f"unix:{path}"))
    else:
        serve_threads(f"unix:{path}")
