"""Which class a person means."""

import pytest

from scratchvgg.study.classes import class_index
from scratchvgg.study.errors import StudyError


def test_classes_by_name_or_number():
    names = ["tench", "tabby", "tiger cat"]
    assert class_index("STRASSE", ["x", "Straße"]) == 1 and class_index("A\u0308", ["ä"]) == 0
    assert class_index("Tabby", names) == 1 and class_index(" 2", names) == 2 and class_index("9", None) == 9
    assert class_index("7", ["a", "7"]) == 1 and class_index("B", ["b", "B"]) == 1, "a name goes first, and in its own spelling"
    with pytest.raises(StudyError, match=r"near: tabby"):
        class_index("taby", names)
    with pytest.raises(StudyError, match="there is no class '3'; expected a number from 0 to 2"):
        class_index("3", names)
    with pytest.raises(StudyError, match="nobody knows the names"):
        class_index("cat", None)
    with pytest.raises(StudyError, match="0 to 4"):
        class_index("5", None, 5)
