"""PROTOCOL.md section 9: the broker and its OpenAPI document agree, by the word of testers that others wrote."""

import json
import os
import pathlib
import re
import subprocess
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

from harness import call, http

HERE = pathlib.Path(__file__).resolve().parent
SEED = int(os.environ.get("STENTOR_OPENAPI_SEED", "20261121"))
# Streams do not end, so no single answer of theirs can be looked at.
STREAMS = ["/v1/ws", "/v1/sse", "/v1/export"]
CHECKS = ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method", "allow_header_conformance"]


async def documented(session, broker):
    return (await call(session, "GET", f"{broker.url}/openapi.json", expect=200))[1]


async def prepared(session, broker):
    """Something of everything, so that not every answer is a 404."""
    lines = [json.dumps({"channel": "key.activated", "data": n, "key": "k", "headers": {"a": "b"}}) for n in range(20)]
    await call(session, "POST", f"{broker.url}/v1/events", data="\n".join(lines),
               headers={"content-type": "application/x-ndjson"}, expect=201)
    await call(session, "POST", f"{broker.url}/v1/events/blob.made", data=b"\xff\x00",
               headers={"content-type": "application/octet-stream"}, expect=201)
    settings = {"channels": ["key.*"], "from": "earliest"}
    await call(session, "PUT", f"{broker.url}/v1/subscribers/ui", json=settings, expect=201)
    connector = {**settings, "url": "http://127.0.0.1:9/hook"}
    await call(session, "PUT", f"{broker.url}/v1/connectors/ems", json=connector, expect=201)
    await call(session, "POST", f"{broker.url}/v1/connectors/ems/pause", expect=204)


def closed(document):
    """The document with answers that may hold nothing that it does not name: a test may be stricter than a promise."""
    schemas = document["components"]["schemas"]
    parts = {part["$ref"].rsplit("/", 1)[1] for schema in schemas.values() for part in schema.get("allOf", ()) if "$ref" in part}
    for name, schema in schemas.items():
        # An extension attribute of a CloudEvent is the publisher's own.
        if "properties" in schema and name not in parts | {"CloudEvent"}:
            schema.setdefault("additionalProperties", False)
    return document


async def test_the_document_is_openapi_3_1(broker):
    async with http() as session:
        document = await documented(session, broker)
        assert document["openapi"].startswith("3.1.")
        assert [str(error.message) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


async def test_every_path_of_the_contract_is_in_the_document(broker):
    """One path of the contract has two meanings: `{ref}` is a channel in a POST and an offset in a GET."""
    name, connector = "/v1/subscribers/{name}", "/v1/connectors/{name}"
    contract = {
        "/v1/events": {"get", "post"}, "/v1/events/{ref}": {"get", "post"}, "/v1/events/{ref}/receipts": {"get"},
        "/v1/channels": {"get"}, "/v1/export": {"get"}, "/v1/preview": {"post"}, "/v1/receipts": {"get"},
        "/v1/subscribers": {"get"}, name: {"get", "put", "delete"}, f"{name}/seek": {"post"}, f"{name}/wait": {"get"},
        f"{name}/pull": {"post"}, f"{name}/ack": {"post"},
        "/v1/connectors": {"get"}, connector: {"get", "put", "delete"}, f"{connector}/seek": {"post"},
        f"{connector}/pause": {"post"}, f"{connector}/resume": {"post"}, f"{connector}/test": {"post"},
        f"{connector}/attempts": {"get"}, f"{connector}/rotate-secret": {"post"}, f"{connector}/replay": {"post"},
        "/v1/dead-letters": {"get"}, "/v1/dead-letters/retry": {"post"},
        "/v1/ws": {"get"}, "/v1/sse": {"get"}, "/health/live": {"get"}, "/health/ready": {"get"}, "/metrics": {"get"},
        "/openapi.json": {"get"}, "/asyncapi.json": {"get"},
    }
    async with http() as session:
        paths = (await documented(session, broker))["paths"]
        missing = {path for path in contract if not contract[path] <= set(paths.get(path, ()))}
        assert missing == set()
        # What is documented is served: another method is told which ones are.
        for path, operations in paths.items():
            url = broker.url + path.replace("{ref}", "0").replace("{name}", "n")
            async with session.request("PATCH", url) as answer:
                assert answer.status == 405, path
                assert answer.headers["content-type"] == "application/problem+json"
                allowed = {method.strip().lower() for method in answer.headers["allow"].split(",")}
            assert allowed - {"head"} == set(operations), path


async def test_every_refusal_in_the_document_is_a_problem(broker):
    async with http() as session:
        for path, operations in (await documented(session, broker))["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"] and operation["operationId"] and operation["tags"], (method, path)
                refusals = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
                assert refusals, (method, path)
                for status, answer in refusals.items():
                    assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


async def test_what_a_get_gives_a_head_tells(broker):
    async with http() as session:
        await prepared(session, broker)
        for path, operations in (await documented(session, broker))["paths"].items():
            if "get" not in operations or path in STREAMS:
                continue
            url = broker.url + path.replace("{ref}", "0")
            url = url.replace("{name}", "ems" if "connectors" in path else "ui") + ("?offset=0&timeout=0s" if "wait" in path else "")
            async with session.get(url) as get, session.head(url) as head:
                told = [(answer.status, answer.headers["content-type"]) for answer in (get, head)]
                assert told[0] == told[1] and told[0][0] == 200, (path, told)
                assert await head.read() == b""


async def test_schemathesis_finds_nothing(broker, tmp_path):
    """Requests by the thousand, good and bad ones, made from the document: each answer is one that it names."""
    async with http() as session:
        await prepared(session, broker)
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(closed(await documented(session, broker))))
        config = tmp_path / "schemathesis.toml"
        config.write_text('hooks = "openapi_hooks"\n')
        command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run", str(document),
                   f"--url={broker.url}", f"--seed={SEED}", "--max-examples=12", "--phases=examples,coverage,fuzzing",
                   "--max-time=30", "--workers=1", "--request-timeout=20", "--continue-on-failure", "--warnings=off",
                   f"--checks={','.join(CHECKS)}", *(f"--exclude-path={path}" for path in STREAMS)]
        environment = {**os.environ, "PYTHONPATH": str(HERE), "NO_COLOR": "1"}
        print(f"schemathesis --seed={SEED}", file=sys.stderr)
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110)
        assert done.returncode == 0, f"STENTOR_OPENAPI_SEED={SEED}\n{done.stdout[-20000:]}{done.stderr[-4000:]}"
        tested = re.search(r"(\d+) generated", done.stdout)
        assert tested and int(tested[1]) > 500, done.stdout
        assert (await documented(session, broker))["openapi"], "the broker is there still"
