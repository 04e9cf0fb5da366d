"""Every public function of the model says where it comes from, or that it is ours."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import FunctionType

import pytest

import addrsvc.model

ORIGIN = re.compile(r"Kernel: [a-z0-9_/-]+\.[ch], [a-zA-Z_]\w*|\bOurs\.")


def public_functions() -> Iterator[FunctionType]:
    for info in pkgutil.iter_modules(addrsvc.model.__path__, "addrsvc.model."):
        module = importlib.import_module(info.name)
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == info.name and not name.startswith("_"):
                yield function


@pytest.mark.parametrize("function", dict.fromkeys(public_functions()), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_a_function_of_the_model_names_its_origin(function: FunctionType) -> None:
    assert ORIGIN.search(inspect.getdoc(function) or ""), (
        f"{function.__qualname__} has neither `Kernel: path, name()` nor `Ours.`"
    )
