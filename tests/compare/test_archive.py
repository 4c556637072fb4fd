"""Archives: what is packed comes back, and nothing else is ever written."""

import io
import json
import random
import stat
import zipfile

import pytest
from tests.commands import analyse_study, run_command

from stagebench.compare import archive
from stagebench.compare.archive import MANIFEST, open_tables, pack_study, unpack_study
from stagebench.errors import OptionError, StoreError


@pytest.fixture
def packed(study, tmp_path):
    return pack_study(study, tmp_path / "known.zip").file


def read_all(folder, *parts):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for part in parts
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


def test_an_unpacked_study_is_analysed_to_the_same_tables(study, packed, tmp_path):
    folder = unpack_study(packed, tmp_path / "back")
    assert read_all(folder, "raw", "tables") == read_all(study, "raw", "tables")
    analyse_study(folder / "plan.json", folder / "raw", study / "reference.csv", tmp_path / "again")
    assert read_all(tmp_path, "again") == {
        name.replace("tables/", "again/"): data for name, data in read_all(study, "tables").items()
    }


def test_the_same_study_gives_the_same_bytes(study, packed, tmp_path):
    again = pack_study(study, tmp_path / "again.zip").file
    assert again.read_bytes() == packed.read_bytes()


def test_the_config_is_packed_too(study, tmp_path):
    (tmp_path / "mine.yaml").write_text("study: mine\n")
    packed = pack_study(study, tmp_path / "a.zip", [tmp_path / "mine.yaml"]).file
    folder = unpack_study(packed, tmp_path / "back")
    assert (folder / "config/mine.yaml").read_text() == "study: mine\n"


def test_a_study_without_tables_is_not_packed(tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half/plan.json").write_text("{}")
    with pytest.raises(StoreError, match="finished"):
        pack_study(tmp_path / "half", tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


def test_nothing_is_overwritten(study, packed, tmp_path):
    with pytest.raises(OptionError, match="exists already"):
        pack_study(study, packed)
    (tmp_path / "here").mkdir()
    with pytest.raises(OptionError, match="exists already"):
        unpack_study(packed, tmp_path / "here")


def test_a_link_is_not_packed(tmp_path):
    for name in ("plan.json", "tables/runs.csv"):
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "study" / name).write_text("{}")
    (tmp_path / "study/tables/other.csv").symlink_to("/etc/hostname")
    with pytest.raises(StoreError, match="no regular file"):
        pack_study(tmp_path / "study", tmp_path / "a.zip")


def rewrite(packed, change):
    """Write an archive anew; `change` gets the members as (info, data) and returns them."""
    with zipfile.ZipFile(packed) as source:
        members = [(one, source.read(one)) for one in source.infolist()]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for info, data in change(members):
            target.writestr(info, data)


def add(name, data=b"x", mode=stat.S_IFREG | 0o644):
    """Return a change that adds a member, to the manifest too."""

    def change(members):
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = mode << 16
        manifest = json.loads(members[-1][1])
        manifest["files"][name] = archive._copy(io.BytesIO(data))
        return [*members[:-1], (info, data), (members[-1][0], json.dumps(manifest))]

    return change


BAD_PATHS = [
    "../out.txt",
    "raw/../../out.txt",
    "/etc/out.txt",
    "raw//out.txt",
    "raw/./out.txt",
    "raw\\..\\out.txt",
    "C:/out.txt",
    "raw/a\nb",
    "other/out.txt",
    "out.txt",
    "raw/folder/",
]


@pytest.mark.parametrize("name", BAD_PATHS)
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(packed, tmp_path, name):
    rewrite(packed, add(name))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="is not allowed; allowed: "):
        unpack_study(packed, tmp_path / "back")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_a_link_or_a_special_file_is_refused(packed, tmp_path, kind):
    rewrite(packed, add("raw/link", b"/etc/passwd", kind | 0o777))
    with pytest.raises(StoreError, match="link or a special file"):
        unpack_study(packed, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_file_that_is_a_folder_too_is_refused(packed, tmp_path):
    rewrite(packed, add("raw/pipe"))
    with pytest.raises(StoreError, match="is a file and a folder"):
        unpack_study(packed, tmp_path / "back")


def test_a_bomb_is_refused_by_its_directory(packed, tmp_path):
    rewrite(packed, add("raw/zeros", b"\0" * 60_000_000))
    with pytest.raises(StoreError, match="would grow from"):
        unpack_study(packed, tmp_path / "back")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(packed, tmp_path):
    rewrite(packed, lambda members: [*members, members[0]])
    with pytest.raises(StoreError, match="is there twice"):
        unpack_study(packed, tmp_path / "back")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused(packed, tmp_path, share):
    data = packed.read_bytes()
    packed.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(StoreError, match="is no archive, or is cut off"):
        unpack_study(packed, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def change_manifest(**changes):
    def change(members):
        manifest = json.loads(members[-1][1]) | changes
        return [*members[:-1], (members[-1][0], json.dumps(manifest))]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_manifest(schema="stagebench-study/9"), "its schema is 'stagebench-study/9'"),
        (change_manifest(files=[1]), "no sizes and hashes"),
        (change_manifest(files={"plan.json": {"bytes": "2", "sha256": ""}}), "no sizes and"),
        (change_manifest(study="../up"), "no name of a study"),
        (change_manifest(files={}), "is not in manifest.json"),
        (lambda members: members[:-1], f"has no {MANIFEST}"),
        (lambda members: members[1:], "is not in the archive"),
        (lambda members: [(members[0][0], b"{}"), *members[1:]], "manifest.json says"),
        (
            lambda members: [(members[0][0], b" " * len(members[0][1])), *members[1:]],
            "not the content that was packed",
        ),
        (lambda members: [*members[:-1], (members[-1][0], b"[" * 99_999)], "is damaged"),
    ],
)
def test_another_content_than_was_packed_is_refused(packed, tmp_path, change, message):
    rewrite(packed, change)
    with pytest.raises(StoreError, match=message):
        unpack_study(packed, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_damaged_data_are_refused(packed, tmp_path):
    with zipfile.ZipFile(packed) as source:
        info = source.getinfo("tables/runs.csv")
    data = bytearray(packed.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 40] = bytes(40)
    packed.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged"):
        unpack_study(packed, tmp_path / "back")
    with (
        pytest.raises(StoreError, match="is damaged"),
        open_tables(packed, ["tables/runs.csv"]),
    ):
        pass


def test_compare_reads_an_archive_as_it_reads_the_folder(study, packed, capsys):
    run_command("compare", study, packed)
    text = capsys.readouterr().out
    assert "Nothing that is recorded of machine and software differs." in text
    assert "equivalent" in text
    assert "slower" not in text.partition("pipe: makespan")[2]


def test_whatever_byte_is_changed_the_content_is_the_same_or_refused(study, packed, tmp_path):
    draw = random.Random(1)
    data, expected = packed.read_bytes(), read_all(study, "raw", "tables")
    refused = 0
    for number in range(60):
        changed = bytearray(data)
        # Most of what decides is at the end: the directory, and the manifest before it.
        place = draw.randrange(len(data) * 4 // 5 if number % 2 else 0, len(data))
        changed[place] ^= 1 << draw.randrange(8)
        packed.write_bytes(changed)
        target = tmp_path / f"back{number}"
        try:
            unpack_study(packed, target)
        except StoreError:
            refused += 1
            assert not target.exists()
        else:
            assert read_all(target, "raw", "tables") == expected
    assert refused > 30
