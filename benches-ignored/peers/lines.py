"""The peers' side of the conversation: one line of JSON in, one out.

A request is {"do": NAME, "with": ARGUMENTS}, an answer {"ok": VALUE} or {"error": TEXT}.
"""

import json
import os
import sys


def serve(versions, operations):
    """Greets with `versions` and answers by `operations`, functions by name, until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    # Libraries that print must not print into the conversation.
    os.dup2(2, 1)

    def answer(value):
        answers.write(json.dumps(value) + "\n")

    answer({"ok": versions})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer({"ok": operations[request["do"]](**(request["with"] or {}))})
        except Exception as error:  # whatever it was, the other side tells of it
            answer({"error": f"{type(error).__name__}: {error}"})
