"""The description of the API that GET /openapi.json gives."""

import splitner_jax
from splitner_jax.runtime.types import Json

_SCORE = {"type": "number", "minimum": 0, "maximum": 1}
_ENTITY = {
  "type": "object",
  "required": ["text", "label", "start", "end", "score"],
  "additionalProperties": False,
  "properties": {
    "text": {"type": "string", "description": "as written"},
    "label": {"type": "string"},
    "start": {
      "type": "integer",
      "description": "the first character (Unicode code point)",
    },
    "end": {"type": "integer", "description": "exclusive"},
    "score": _SCORE,
    "span_score": {
      **_SCORE,
      "description": "with details, of a system of two steps: the first one's",
    },
    "types": {
      "type": "array",
      "description": "likewise: the second one's likeliest, the label first; "
      "the label is empty for no entity",
      "items": {
        "type": "object",
        "required": ["label", "score"],
        "additionalProperties": False,
        "properties": {"label": {"type": "string"}, "score": _SCORE},
      },
    },
  },
}
_ENTITIES = {"type": "array", "items": {"$ref": "#/components/schemas/Entity"}}
_SENTENCES = {
  "type": "array",
  "description": "with details: start and end of each word of each sentence",
  "items": {
    "type": "array",
    "items": {
      "type": "array",
      "items": {"type": "integer"},
      "minItems": 2,
      "maxItems": 2,
    },
  },
}
_ERROR = {
  "type": "object",
  "required": ["detail"],
  "additionalProperties": False,
  "properties": {
    "detail": {"type": "string"},
    "field": {"type": "string", "description": "that is wrong"},
  },
}
_OPTIONS = {
  "threshold": {
    "type": ["number", "null"],
    "minimum": 0,
    "maximum": 1,
    "description": "the least score, instead of the model's thresholds",
  },
  "labels": {
    "type": ["array", "null"],
    "items": {"type": "string"},
    "minItems": 1,
    "description": "only these types",
  },
  "details": {
    "type": ["boolean", "null"],
    "description": "whether the answer has the scores of both steps, and the "
    "words that the model read",
  },
}
_REFUSALS = {
  401: "the token is missing or wrong",
  405: "the path has other methods",
  408: "the body did not come in time",
  413: "the body is too large",
  422: "the body is no question",
  429: "the queue is full; come again after Retry-After seconds",
  500: "an internal error, with its id in the log",
  503: "not ready yet, or ending",
  504: "not answered in time",
}


def _responses(good: Json, *refusals: int) -> Json:
  error = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
  }
  return {"200": good} | {
    str(status): {"description": _REFUSALS[status], "content": error}
    for status in refusals
  }


def _json(description: str, schema: Json) -> Json:
  content = {"application/json": {"schema": schema}}
  return {"description": description, "content": content}


def _get(summary: str, good: Json, *refusals: int) -> Json:
  responses = _responses(good, *refusals, 405, 500)
  return {"get": {"summary": summary, "responses": responses}}


def _body(name: str, schema: Json) -> Json:
  return {
    "type": "object",
    "required": [name],
    "additionalProperties": False,
    "properties": {name: schema, **_OPTIONS},
  }


def document() -> Json:
  """Exactly the routes and statuses that there are."""
  text = {"type": "string"}
  status = {"type": "object", "properties": {"status": text}}
  predict = {
    "summary": "The entities of a text, or of each of several",
    "requestBody": {
      "required": True,
      "content": {
        "application/json": {
          "schema": {
            "oneOf": [
              _body("text", text),
              _body("texts", {"type": "array", "items": text}),
            ]
          }
        }
      },
    },
    "responses": _responses(
      _json(
        "the entities; of `texts` a list for each",
        {
          "type": "object",
          "required": ["entities"],
          "properties": {
            "entities": {
              "anyOf": [_ENTITIES, {"type": "array", "items": _ENTITIES}]
            },
            "sentences": {
              "anyOf": [_SENTENCES, {"type": "array", "items": _SENTENCES}]
            },
          },
        },
      ),
      *(401, 405, 408, 413, 422, 429, 500, 503, 504),
    ),
  }
  metrics = {"description": "counters", "content": {"text/plain": {}}}
  return {
    "openapi": "3.1.0",
    "info": {
      "title": "splitner serve",
      "version": splitner_jax.__version__,
      "description": "Any other path: 404. What is no HTTP: 400. A "
      "request that does not come in time: 408. /health and "
      "/ready need no token, if one is set.",
    },
    "paths": {
      "/predict": {"post": predict},
      "/model": _get("The model", _json("facts", {"type": "object"}), 401),
      "/health": _get("Whether the process lives", _json("alive", status)),
      "/ready": _get("Whether requests are taken", _json("ready", status), 503),
      "/metrics": _get("For Prometheus", metrics, 401),
      "/openapi.json": _get(
        "This document", _json("OpenAPI", {"type": "object"}), 401
      ),
    },
    "components": {
      "schemas": {"Entity": _ENTITY, "Error": _ERROR},
      "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    },
  }
