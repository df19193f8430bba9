"""The switches for llama.cpp on recorded CPUs, and probes that really die."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_alm.native import (
    GGML_SWITCHES,
    Cpu,
    llama_cmake_args,
    llama_reinstall_command,
    parse_cpuinfo,
    run_probe,
    this_cpu,
)

ROOT = Path(__file__).resolve().parents[2]

SAPPHIRE_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx \
fxsr sse sse2 ss ht syscall nx pdpe1gb rdtscp lm constant_tsc rep_good nopl xtopology nonstop_tsc \
cpuid tsc_known_freq pni pclmulqdq ssse3 fma cx16 pcid sse4_1 sse4_2 x2apic movbe popcnt aes xsave \
avx f16c rdrand hypervisor lahf_lm abm 3dnowprefetch ssbd ibrs ibpb stibp fsgsbase tsc_adjust bmi1 \
hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap avx512ifma clflushopt clwb \
avx512cd sha_ni avx512bw avx512vl xsaveopt xsavec xgetbv1 xsaves avx_vnni avx512_bf16 arat \
avx512vbmi umip avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg avx512_vpopcntdq la57 \
rdpid cldemote movdiri movdir64b fsrm md_clear serialize amx_bf16 avx512_fp16 amx_tile amx_int8

processor\t: 1
flags\t\t: fpu
"""
HASWELL = """\
model name\t: Intel(R) Core(TM) i5-4590 CPU @ 3.30GHz
flags\t\t: fpu sse sse2 ssse3 fma cx16 sse4_1 sse4_2 popcnt aes xsave avx f16c rdrand bmi1 avx2 bmi2
"""
NEHALEM = """\
model name\t: Intel(R) Xeon(R) CPU X5550 @ 2.67GHz
flags\t\t: fpu vme de sse sse2 ht syscall nx rdtscp lm pni ssse3 cx16 sse4_1 sse4_2 popcnt
"""
KNIGHTS_LANDING = """\
model name\t: Intel(R) Xeon Phi(TM) CPU 7250 @ 1.40GHz
flags\t\t: fpu sse4_2 avx f16c fma avx2 bmi2 avx512f avx512pf avx512er avx512cd
"""
PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm \
lrcpc dcpop asimddp
CPU implementer\t: 0x41

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def cpu(text: str, machine: str = "x86_64", system: str = "Linux") -> Cpu:
    return Cpu(system, machine, *parse_cpuinfo(text))


def switched_on(args: list[str]) -> set[str]:
    return {a[len("-DGGML_") : -len("=ON")] for a in args if a.endswith("=ON")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            SAPPHIRE_RAPIDS,
            "SSE42 AVX AVX2 FMA F16C BMI2 AVX_VNNI AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16",
        ),
        (HASWELL, "SSE42 AVX AVX2 FMA F16C BMI2"),
        (NEHALEM, "SSE42"),
        (KNIGHTS_LANDING, "SSE42 AVX AVX2 FMA F16C BMI2"),  # AVX-512, but not all of its five
    ],
    ids=["sapphire-rapids", "haswell", "nehalem", "knights-landing"],
)
def test_x86_gets_what_it_has(text: str, expected: str) -> None:
    args = llama_cmake_args(cpu(text))
    assert args[0] == "-DGGML_NATIVE=OFF"
    assert switched_on(args) == set(expected.split())
    assert {a.partition("=")[0] for a in args[1:]} == {f"-D{name}" for name in GGML_SWITCHES}


@pytest.mark.parametrize(
    "other",
    [
        cpu(PI_5, "aarch64"),
        cpu("", "arm64", "Darwin"),
        cpu("", "x86_64", "Darwin"),
        cpu("", "x86_64"),  # no /proc: nothing known, so nothing said
    ],
    ids=["pi-5", "apple", "intel-mac", "no-proc"],
)
def test_others_keep_llama_cpps_own_choice(other: Cpu) -> None:
    assert llama_cmake_args(other) == []
    assert "CMAKE_ARGS" not in llama_reinstall_command(other)


def test_reads_name_and_flags_of_the_first_cpu() -> None:
    pi = cpu(PI_5, "aarch64")
    assert pi.name == "Raspberry Pi 5 Model B Rev 1.0"
    assert "asimddp" in pi.flags
    assert cpu(SAPPHIRE_RAPIDS).name.startswith("Intel(R) Xeon(R) Platinum 8481C")
    assert cpu(SAPPHIRE_RAPIDS).has_amx
    assert not cpu(HASWELL).has_amx


@given(st.sets(st.sampled_from([*sorted(set().union(*GGML_SWITCHES.values())), "amx_tile"])))
def test_no_switch_is_on_without_its_flags(flags: set[str]) -> None:
    on = switched_on(llama_cmake_args(Cpu("Linux", "x86_64", "", frozenset(flags))))
    assert not any("AMX" in name for name in on)
    assert on == {name[len("GGML_") :] for name, needs in GGML_SWITCHES.items() if needs <= flags}


@given(st.text())
def test_any_cpuinfo_is_read(text: str) -> None:
    parse_cpuinfo(text)


def test_reinstall_command_is_one_shell_line_with_the_switches() -> None:
    command = llama_reinstall_command(cpu(SAPPHIRE_RAPIDS))
    echoed = subprocess.run(
        ["sh", "-c", command.replace(sys.executable, "env #")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CMAKE_ARGS=-DGGML_NATIVE=OFF -DGGML_SSE42=ON" in echoed.stdout
    assert "--no-cache-dir" in command  # pip's cache of wheels does not know the switches


def test_the_script_says_the_same_without_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "scripts" / "llama_cmake_args.py")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == llama_cmake_args(this_cpu())


def test_probe_reports() -> None:
    outcome = run_probe("print('chatter'); print('{\"answer\": 42}')", 30)
    assert (outcome.status, outcome.report, outcome.reason) == ("ok", {"answer": 42}, "")


@pytest.mark.parametrize(
    ("code", "status", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "SIGSEGV"),
        ("import ctypes; ctypes.string_at(0)", "crashed", "SIGSEGV"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "crashed", "SIGILL"),
        ("raise ImportError('libgomp.so.1: no such file')", "failed", "ImportError: libgomp.so.1"),
        ("raise SystemExit(7)", "failed", "exit 7"),
        ("print('no report')", "failed", "no report, but 'no report'"),
        ("print('[1]')", "failed", "no report, but '[1]'"),
        ("", "failed", "no report"),
        ("while True: pass", "timeout", "no end within 0.5 s"),
    ],
)
def test_probe_says_how_it_ended(code: str, status: str, reason: str) -> None:
    outcome = run_probe(code, 0.5 if status == "timeout" else 30)
    assert outcome.status == status
    assert outcome.reason.startswith(reason)
    assert outcome.report == {}


def test_probe_imports_nothing_from_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert run_probe("import json; print(json.dumps({}))", 30).status == "ok"
