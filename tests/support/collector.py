"""A collector of traces: OTLP over HTTP in protobuf, read with OpenTelemetry's own definitions. Each span is one line of JSON in the
file that is named; nothing that the definitions do not know may be in a request. The first answers are the statuses that are named."""

import http.server
import json
import sys

from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

OUT, STATUSES = sys.argv[1], [int(status) for status in sys.argv[2:]]


def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                known(each)


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def lines(request, headers):
    for group in request.resource_spans:
        resource = attributes(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield {
                    "resource": resource,
                    "scope": scope.scope.name,
                    "authorization": headers["authorization"],
                    "trace": span.trace_id.hex(),
                    "span": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "links": [[link.trace_id.hex(), link.span_id.hex()] for link in span.links],
                    "name": span.name,
                    "kind": Span.SpanKind.Name(span.kind),
                    "begun": span.start_time_unix_nano,
                    "ended": span.end_time_unix_nano,
                    "attributes": attributes(span.attributes),
                    "failed": span.status.code == 2,
                    "flags": span.flags,
                }


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status, answer = 200, ExportTraceServiceResponse().SerializeToString()
        try:
            assert self.path == "/v1/traces" and self.headers["content-type"] == "application/x-protobuf", self.path
            request = ExportTraceServiceRequest.FromString(body)
            known(request)
            if STATUSES:
                status, answer = STATUSES.pop(0), b""
            else:
                with open(OUT, "a") as out:
                    out.writelines(json.dumps(line) + "\n" for line in lines(request, self.headers))
        except Exception as error:
            with open(OUT, "a") as out:
                out.write(json.dumps({"wrong": repr(error)}) + "\n")
            status, answer = 400, b""
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
print(server.server_address[1], flush=True)
server.serve_forever()
