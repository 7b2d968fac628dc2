"""The cache folder: where it is, who may write it, and that JAX takes from it what it compiled before."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdyn import cache, machine

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("named", "environment", "expected"),
    [
        ("/mine", {"JAXDYN_CACHE_DIR": "/other", "XDG_CACHE_HOME": "/xdg"}, "/mine"),
        (None, {"JAXDYN_CACHE_DIR": "/other", "XDG_CACHE_HOME": "/xdg"}, "/other"),
        (None, {"JAXDYN_CACHE_DIR": "", "XDG_CACHE_HOME": "/xdg"}, "/xdg/jaxdyn"),
        (None, {"XDG_CACHE_HOME": "relative"}, "~/.cache/jaxdyn"),
        ("~/mine", {}, "~/mine"),
    ],
)
def test_what_names_the_folder(named, environment, expected):
    assert cache.folder_of(named, environment) == Path(expected).expanduser()


def test_no_home_and_no_name(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(cache.CacheError, match="name one by --cache or JAXDYN_CACHE_DIR"):
        cache.folder_of(None, {})


def test_it_is_made_for_its_owner_alone(tmp_path):
    part = cache.prepare(tmp_path / "deep" / "cache")
    assert part == tmp_path / "deep" / "cache" / machine.name()
    for folder in (part, part.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert cache.prepare(tmp_path / "deep" / "cache") == part


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(cache.CacheError, match=r"can be written by everyone; `chmod o-w"):
        cache.prepare(tmp_path)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    os.chown(tmp_path, 12345, -1) if os.getuid() == 0 else monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(cache.CacheError, match="belongs to another user"):
        cache.prepare(tmp_path)


def test_a_place_that_cannot_be_made_or_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(cache.CacheError, match=r"file/cache: cannot be made \(.*\); name another folder by --cache"):
        cache.prepare(tmp_path / "file" / "cache")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(cache.CacheError, match="cannot be written"):
        cache.prepare(tmp_path / "cache")


def test_a_second_process_loads_what_the_first_compiled(tmp_path):
    program = (
        "import json, jax\n"
        "from jaxdyn import cache\n"
        "seen = []\n"
        "jax.monitoring.register_event_listener(lambda event, **_: seen.append(event.rpartition('/')[2]))\n"
        f"cache.keep_compiled(cache.prepare({str(tmp_path)!r}))\n"
        "jax.block_until_ready(jax.jit(lambda x: x * 2 + 1)(1.0))\n"
        "print(json.dumps({name: seen.count(name) for name in ('cache_hits', 'cache_misses')}))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment["JAX_PLATFORMS"] = "cpu"
    found = [
        json.loads(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, env=environment, text=True))
        for _ in range(2)
    ]
    assert found[0]["cache_hits"] == 0
    assert found[0]["cache_misses"] > 0
    assert found[1] == {"cache_hits": found[0]["cache_misses"], "cache_misses": 0}


def test_jaxs_own_variables_win(tmp_path, monkeypatch):
    import jax

    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    cache.keep_compiled(tmp_path, {"JAX_COMPILATION_CACHE_DIR": "/theirs"})
    assert updates == {}
    cache.keep_compiled(tmp_path, {"JAX_COMPILATION_CACHE_MAX_SIZE": "5"})
    assert updates == {
        "jax_compilation_cache_dir": str(tmp_path / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "file.json"
    cache.write_whole(path, "first")
    cache.write_whole(path, "second")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        cache.write_whole(path, "third")
    assert path.read_text() == "second"
    assert [child.name for child in path.parent.iterdir()] == ["file.json"]


def test_a_machine_has_a_name_of_its_own(tmp_path, monkeypatch):
    names = set()
    for processor, flags in (("A", "avx"), ("A", "avx avx2"), ("B", "avx")):
        text = f"model name : {processor}\nflags : {flags}\n"
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "cpuinfo")
        machine._field.cache_clear()
        machine.name.cache_clear()
        names.add(machine.name())
        assert machine.processor() == processor
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "nothing")
    machine._field.cache_clear()
    assert machine.processor()
    assert len(names) == 3
    machine._field.cache_clear()
    machine.name.cache_clear()
