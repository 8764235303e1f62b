# As much of it as the tests use; the package has no types of its own.

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred

_P = ParamSpec("_P")
_T = TypeVar("_T")

def ensureDeferred(test: Callable[_P, Coroutine[Any, Any, _T]]) -> Callable[_P, Deferred[_T]]: ...
def async_yield_fixture(fixture: Callable[_P, AsyncIterator[_T]]) -> Callable[_P, AsyncIterator[_T]]: ...
