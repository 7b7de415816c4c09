"""Where the time of a trace went, and the files it is written to."""

from __future__ import annotations

import json

import pytest

from stagegate_baselines.records import HotPath
from stagegate_harness.chrome_trace import chrome_trace
from stagegate_harness.hot_path import as_text, busy_us, headline, hot_path_of, kernel_counts
from stagegate_harness.kernel_names import demangled, short_name
from stagegate_harness.trace_events import ApiCall, Copy, Fill, Kernel, Range, Trace


def kernel(name: str, start_us: float, end_us: float, stream: int = 7, device: int = 0) -> Kernel:
    times = (round(1000 * start_us), round(1000 * end_us))
    return Kernel(name, *times, device, stream, grid=(4, 2, 1), block=(128, 1, 1))


TRACE = Trace(
    start_ns=1_000_000,
    end_ns=1_100_000,
    kernels=[
        kernel("void ns::norm<float>(float*)", 1010, 1020),
        kernel("nvjet_hsh_64x8", 1015, 1045, stream=9),  # beside the first for 5 us
        kernel("void ns::norm<__half>(__half*)", 1050, 1060),
    ],
    copies=[
        Copy("host to device", 1_005_000, 1_007_000, 0, 7, 4096),
        Copy("device to host", 1_070_000, 1_071_000, 0, 7, 64),
        Copy("host to device", 1_072_000, 1_073_500, 0, 7, 100),
    ],
    fills=[Fill(1_080_000, 1_080_500, 0, 7, 32)],
    calls=[ApiCall("cudaLaunchKernelExC", 1_001_000, 1_004_000, 42)],
    ranges=[
        Range("ours", "step", 1_000_500, 1_090_000, 42),
        Range("ours", "add", 1_001_000, 1_004_500, 42),
    ],
)


def test_kernels_and_copies_are_added_up() -> None:
    path = hot_path_of(TRACE)
    assert path is not None
    rows = [(item.name, item.calls, item.total_us) for item in path.kernels]
    assert rows == [("nvjet_hsh_64x8", 1, 30.0), ("norm", 2, 20.0), ("memset", 1, 0.5)]
    copies = [(item.direction, item.count, item.size_bytes, item.total_us) for item in path.copies]
    assert copies == [("device to host", 1, 64, 1.0), ("host to device", 2, 4196, 3.5)]
    assert path.device_us == 55.0
    assert path.wall_us == 100.0
    # 2 + 35 + 10 + 1 + 1.5 + 0.5: what ran at the same time counts once.
    assert path.busy_us == 50.0
    assert HotPath.model_validate_json(path.model_dump_json()) == path


@pytest.mark.parametrize(
    ("spans", "busy"),
    [
        ([], 0.0),
        ([(1, 5)], 4.0),
        ([(1, 5), (5, 6)], 5.0),
        ([(1, 9), (2, 3), (4, 5)], 8.0),  # within
        ([(4, 8), (1, 5), (10, 11)], 8.0),  # out of order
        ([(1, 5), (1, 5)], 4.0),
    ],
)
def test_overlap_counts_once(spans: list[tuple[float, float]], busy: float) -> None:
    assert busy_us([kernel("k", *span, stream=i) for i, span in enumerate(spans)]) == busy


def test_without_kernels_there_is_no_hot_path() -> None:
    assert hot_path_of(Trace(start_ns=0, end_ns=5, copies=TRACE.copies)) is None


def test_the_text_says_what_the_numbers_are() -> None:
    path = hot_path_of(TRACE)
    assert path is not None
    lines = as_text(path).splitlines()
    assert lines[1].split() == ["nvjet_hsh_64x8", "1", "30.0", "54.5%", "30.00"]
    assert lines[2].split() == ["norm", "2", "20.0", "36.4%", "10.00"]
    assert lines[-1] == headline(path)
    assert headline(path) == "GPU busy 50.0% of 0.10 ms, 54.5% of its time in nvjet_hsh_64x8"
    assert kernel_counts(TRACE.kernels) == {"norm": 2, "nvjet_hsh_64x8": 1}


NAMES = [
    ("add_kernel", "add_kernel"),
    ("nvjet_hsh_64x8_64x16_4x1_v_bz_TNT", "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT"),
    ("void ns::add_kernel<float, 4>(float const*, float*)", "add_kernel"),
    (
        "void ns::(anonymous namespace)::attention_kernel<__half, 64, (int)1>(ns::Call, K<float>)",
        "attention_kernel",
    ),
    ("std::enable_if<(a)1, void>::type ns::foo<int>(int)", "foo"),
    ("void cublasLt::splitKreduce_kernel<32, 16, int>(P)", "splitKreduce_kernel"),
    ("void internal::gemvx::kernel<int, float>(P)", "gemvx::kernel"),
    ("void cutlass::Kernel2<cutlass_80_tensorop_s16816gemm_f16, X<1>>(T::P)",
     "cutlass_80_tensorop_s16816gemm_f16"),
    ("void cutlass::device_kernel<ns::Prefill<A<1>, 2>>(P)", "Prefill"),
    ("void ns::A<int>::Kernel(int)", "A::Kernel"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "short"), NAMES)
def test_short_names(name: str, short: str) -> None:
    assert short_name(name) == short


def test_symbols_are_demangled() -> None:
    assert demangled("_ZN9stagegate10add_kernelEPfi") == "stagegate::add_kernel(float*, int)"
    assert short_name(demangled("_ZN9stagegate10add_kernelEPfi")) == "add_kernel"
    assert demangled("_Znonsense!") == "_Znonsense!"
    assert demangled("nvjet_hsh") == "nvjet_hsh"


def test_the_chrome_trace_numbers_rows_as_perfetto_takes_them() -> None:
    """From 1 to 2**32 - 1 it keeps them; 0 is an idle thread, and every other number is 0.

    A thread with the number of a process is a main thread.
    """
    busy = Trace(
        start_ns=0,
        end_ns=9000,
        kernels=[kernel("k", 1, 2, stream=0), kernel("k", 1, 2, stream=2**32 - 1, device=1)],
        copies=[Copy("host to device", 1000, 2000, 0, 0, 8)],
        calls=[ApiCall("cudaFree", 1000, 2000, thread) for thread in (0, 7, 2**32 - 1)],
        ranges=[Range("ours", "step", 500, 2500, thread) for thread in (0, 7, 2**32 - 1)],
    )
    events = chrome_trace(busy)["traceEvents"]
    slices = [(event["pid"], event["tid"]) for event in events if event["ph"] == "X"]
    assert len(set(slices)) == len({row for _, row in slices}) == 9
    assert all(0 < number < 2**32 for row in slices for number in row)
    assert {pid for pid, _ in slices}.isdisjoint(tid for _, tid in slices)


def test_the_chrome_trace_has_a_row_a_stream_and_copies_apart() -> None:
    document = json.loads(json.dumps(chrome_trace(TRACE)))
    events = document["traceEvents"]
    rows = {
        (event["pid"], event["tid"]): event["args"]["name"]
        for event in events
        if event["name"] == "thread_name"
    }
    # In this order: ranges above the calls they are around, copies below their stream.
    assert [rows[row] for row in sorted(rows)] == [
        "ranges",
        "CUDA calls",
        "stream 7",
        "stream 7, copies",
        "stream 9",
    ]
    order = {
        (event["pid"], event["tid"]): event["args"]["sort_index"]
        for event in events
        if event["name"] == "thread_sort_index"
    }
    assert sorted(order, key=lambda row: order[row]) == sorted(rows)
    processes = {
        event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"
    }
    assert [processes[pid] for pid, _ in sorted(rows)] == ["host", "host", *3 * ["GPU 0"]]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 10
    assert [event["ts"] for event in slices] == sorted(event["ts"] for event in slices)
    by_row: dict[str, list[str]] = {}
    for event in slices:
        by_row.setdefault(rows[event["pid"], event["tid"]], []).append(event["name"])
    assert by_row == {
        "CUDA calls": ["cudaLaunchKernelExC"],
        "ranges": ["step", "add"],
        "stream 7": ["norm", "norm"],
        "stream 9": ["nvjet_hsh_64x8"],
        "stream 7, copies": ["host to device", "device to host", "host to device", "memset"],
    }
    norm = next(event for event in slices if event["name"] == "norm")
    assert (norm["ts"], norm["dur"]) == (10.0, 10.0)
    assert norm["args"] == {
        "grid": [4, 2, 1],
        "block": [128, 1, 1],
        "kernel": "void ns::norm<float>(float*)",
    }
