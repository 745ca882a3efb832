"""Secrets, tokens, ports and errors."""

from __future__ import annotations

import pickle

import pytest

from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.ids import hash_token, new_token
from commonfarm.lib.ports import Port, unfilled
from commonfarm.lib.secret import Secret
from commonfarm.lib.terminal import harmless


def test_a_secret_does_not_print_itself() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    assert secret.reveal() == "hunter2"


def test_tokens_differ_and_are_kept_as_hashes() -> None:
    first, second = new_token("cf_api"), new_token("cf_api")
    assert first != second
    assert first.startswith("cf_api_")
    assert first not in hash_token(first)
    assert len(hash_token(first)) == 64


def test_a_port_that_nobody_filled_is_named() -> None:
    port: Port[int] = Port("test.number")
    try:
        assert "test.number" in unfilled()
        with pytest.raises(LookupError, match=r"test\.number"):
            port.get()
    finally:
        port.fill(3)
    assert port.get() == 3
    assert "test.number" not in unfilled()


def test_errors_say_what_lifts_them() -> None:
    assert str(RefusedError(Reason("full", "the disk is full", "free 3 GiB"))) == (
        "the disk is full; free 3 GiB"
    )
    error = BadInputError(
        Problem("b.yaml", 1, 2, "is odd", "mend it"), Problem("a.yaml", 0, 0, "is missing", "")
    )
    assert str(error) == "a.yaml: is missing\nb.yaml:1:2: is odd; mend it"


def test_errors_can_be_handed_to_another_process() -> None:
    refused = RefusedError(Reason("full", "nothing is left", "more memory"))
    faults = BadInputError(Problem("b.yaml", 2, 1, "wrong", ""), Problem("a.yaml", 1, 1, "bad", ""))
    for error in (refused, faults):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), again.reason) == (type(error), str(error), error.reason)
    assert pickle.loads(pickle.dumps(faults)).problems == faults.problems


def test_what_would_steer_a_terminal_is_replaced() -> None:
    assert harmless("ü \x1b[2J\x9b1m\r\n\t\u202e") == "ü ?[2J?1m????"
    assert harmless("a\n\tb\r", kept="\n\t") == "a\n\tb?"
