"""Every mutant is caught by the check that it names, on examples that the file without the mistake passes."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from scratchvgg.cuda import emulator, registry
from scratchvgg.cuda.emulator.build import build

from .arithmetic import ARITHMETIC
from .memory import MEMORY
from .mutant import CHECKS, SANITIZER, examples, proves, write
from .threads import THREADS

MUTANTS = (*ARITHMETIC, *MEMORY, *THREADS)


@pytest.fixture(scope="module", autouse=True)
def _compiled(request, tmp_path_factory):
    """All files that the chosen tests will want are in the cache, compiled two at a time."""
    if hasattr(request.config, "workerinput"):
        return  # pytest-xdist: each worker compiles what its own tests want
    chosen = [item.callspec.params["mutant"] for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    files = {}
    for mutant in chosen:
        right, wrong = write(mutant, tmp_path_factory.mktemp("files"))
        sanitized = mutant.by in SANITIZER
        files |= {(mutant.file, mutant.keep, False): right, (mutant.file, mutant.keep, sanitized): right, (mutant, sanitized): wrong}

    def compile(key, file):
        with emulator.sanitize(key[-1]):
            build(file)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile, files, files.values()))


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{m.file}: {m.why}" for m in MUTANTS])
def test_the_mutant_is_caught(mutant, tmp_path):
    right, wrong = write(mutant, tmp_path)
    check, findings = CHECKS[mutant.by], []
    for example in examples(mutant, right):
        with emulator.substitute(mutant.file, right):
            assert check(example) == "", f"the right file fails: {example.title}"
        with emulator.substitute(mutant.file, wrong):
            findings.append(check(example))
        if proves(mutant, findings[-1]):
            return
    pytest.fail(f"not caught by {mutant.by} on {len(findings)} examples; found {findings}")


def test_every_kernel_file_and_every_check_has_mutants():
    assert {m.file for m in MUTANTS} == set(registry.kernel_files())
    assert {m.by for m in MUTANTS} == set(CHECKS)
    assert len(MUTANTS) >= 40
    assert max(Counter((m.edited, m.old, m.new) for m in MUTANTS).values()) == 1
