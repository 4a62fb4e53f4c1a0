"""What a GPU would do with the fast path, as far as a CPU can tell: graphs, compiled kernels, waits."""

from __future__ import annotations

import weakref
from contextlib import ExitStack, contextmanager

import pytest
import torch
from agreement import BFLOAT16_TOLERANCE, SIZES, TOLERANCE, largest_difference, pictures, relative_l2
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dvlt_ros.fast import FastDvlt
from dvlt_ros.fast import graphs as graphs_module
from dvlt_ros.fast.graphs import StepGraphs
from dvlt_ros.fast.kernels import fused_kernels

aten = torch.ops.aten
WAITS = {aten.index.Tensor, aten.index_put_.default, aten._local_scalar_dense.default, aten.nonzero.default}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.inference_mode():
        yield


class Recording(TorchDispatchMode):
    """Every operator with the tensors that it read and wrote."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result

    @property
    def operators(self):
        return [call[0] for call in self.calls]


class FakeGraph:
    """Runs the operators of its capture again, on the memory that they had then, as a CUDA graph does."""

    def replay(self):
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for written, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if memory(written) != memory(new):  # neither a view nor in place
                    written.copy_(new)


def memory(tensor):
    return tensor.untyped_storage().data_ptr()


class FakeCuda:
    """The rules of torch.cuda that a capture depends on; breaking one is an error."""

    def __init__(self):
        self.current, self.on_device, self.captures, self.waits = "default", False, 0, 0
        self.warm_up, self.pools, self.fails = [], {}, False

    def current_stream(self):
        assert self.on_device, "the stream of another device"
        return FakeStream(self.current)

    @contextmanager
    def device(self, device):
        self.on_device, before = True, self.on_device
        yield
        self.on_device = before

    @contextmanager
    def stream(self, stream):
        before, self.current = self.current, stream.name
        try:
            with Recording() as recording:
                self.warm_up = recording
                yield
        finally:
            self.current = before

    @contextmanager
    def graph(self, graph, pool, stream, capture_error_mode):
        assert stream.name == self.current != "default", "the default stream cannot be captured"
        captured = self.pools.setdefault(pool, [])
        if captured and not any(reference() for reference in captured):
            raise RuntimeError("use_count > 0 INTERNAL ASSERT FAILED")  # what PyTorch says of a dead pool
        captured.append(weakref.ref(graph))
        expected = self.warm_up.operators
        with Recording() as recording:
            yield
        if self.fails:
            self.current = "lost"  # `torch.cuda.graph` does not leave its stream then
            raise torch.OutOfMemoryError("CUDA out of memory")
        assert recording.operators == expected, "something is done for the first time in a capture"
        graph.calls, self.captures = recording.calls, self.captures + 1

    def synchronize(self, device):
        self.waits += 1


class FakeStream:
    def __init__(self, name="side"):
        self.name, self.waited_for = name, []

    def wait_stream(self, other):
        assert other.name != self.name
        self.waited_for.append(other.name)


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    for name in ("current_stream", "device", "stream", "graph", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    return fake


def with_graphs(fast):
    """A fast path on the CPU that believes in graphs."""
    fast._graphs = StepGraphs(fast._apply, fast.device)
    return fast


@pytest.fixture
def graphed(cuda, make_model):
    return with_graphs(FastDvlt(make_model()))


def test_one_graph_of_a_shape_serves_every_k(graphed, cuda, make_model):
    model = make_model()
    for seed, steps in enumerate((3, 4, 2, 4)):
        images = pictures(seed=seed)
        assert largest_difference(graphed(images, steps), model(images, steps)) <= TOLERANCE, steps
    assert cuda.captures == 1


def test_the_first_window_of_a_prepared_shape_is_a_replay(graphed, cuda, make_model):
    graphed.prepare(3, *SIZES[0])
    assert cuda.captures == 1
    assert largest_difference(graphed(pictures(), 2), make_model()(pictures(), 2)) <= TOLERANCE
    assert cuda.captures == 1


def test_shapes_alternate_and_the_one_not_used_for_longest_goes(graphed, cuda, make_model, monkeypatch):
    monkeypatch.setattr(graphs_module, "REMEMBERED_SHAPES", 2)
    model = make_model()
    seen = [(2, 0, False), (2, 1, False), (3, 1, False), (3, 2, False), (2, 2, False)]
    seen += [(1, 2, False), (1, 3, True), (2, 3, False), (3, 4, True)]  # waits for the one that is destroyed
    for num_views, captures, destroys in seen:
        waits = cuda.waits
        images = pictures(num_views, seed=num_views)
        assert largest_difference(graphed(images, 3), model(images, 3)) <= TOLERANCE
        assert cuda.captures == captures, num_views
        assert (cuda.waits > waits) == destroys
    assert len(graphed._graphs._graphs) == 2


def test_graphs_of_two_sizes_of_one_shape(graphed, cuda, make_model):
    model = make_model()
    for _ in range(3):
        for size in SIZES[:2]:  # as many tokens, at other places
            assert largest_difference(graphed(pictures(size=size), 2), model(pictures(size=size), 2)) <= TOLERANCE
    assert cuda.captures == 2


def test_merged_keys_in_a_graph(cuda, make_model):
    graphed, expected = with_graphs(FastDvlt(make_model(), merged_keys=2)), FastDvlt(make_model(), merged_keys=2)
    for seed, steps in enumerate((3, 4, 2)):
        images = pictures(seed=seed)
        assert largest_difference(graphed(images, steps), expected(images, steps)) <= TOLERANCE
    assert cuda.captures == 1


def test_a_capture_that_fails_leaves_nothing_behind(graphed, cuda, make_model):
    model = make_model()
    graphed(pictures(), 3)
    cuda.fails = True
    with pytest.raises(torch.OutOfMemoryError):
        graphed(pictures(), 3)
    assert cuda.current == "default"
    assert not graphed._graphs._graphs
    cuda.fails = False
    for _ in range(3):
        assert largest_difference(graphed(pictures(), 3), model(pictures(), 3)) <= TOLERANCE
    assert cuda.captures == 1


def test_released_graphs_are_captured_again(graphed, cuda, make_model):
    expected = make_model()(pictures(), 3)
    for _ in range(2):
        for _ in range(2):
            assert largest_difference(graphed(pictures(), 3), expected) <= TOLERANCE
        graphed.release()
    assert cuda.captures == 2
    assert cuda.waits == 2  # a graph is not destroyed while it may run


def test_no_stage_waits_for_the_device(make_model):
    fast = FastDvlt(make_model())
    fast(pictures(4), 2)
    with Recording() as recording:
        state = fast.run(fast.begin(fast.encode(pictures(4))), 3)
        fast.decode(state, [3, 1])
    assert not WAITS & set(recording.operators)


def test_a_new_number_of_views_compiles_nothing(make_model, monkeypatch):
    """Dynamo's part of compiling is the same on every device; what it would hand to Triton runs as it is."""
    monkeypatch.setattr("dvlt_ros.fast.dvlt.kernels_for", lambda device: fused_kernels("eager"))
    model = make_model(encoder_depth=1)
    fast = FastDvlt(model, "bfloat16")
    with ExitStack() as stack:
        stack.callback(torch.compiler.reset)
        for num_views in (2, 3, 1):
            fast(pictures(num_views), 2)
        with torch.compiler.set_stance("fail_on_recompile"):
            for num_views, size in ((5, SIZES[0]), (4, SIZES[1]), (1, SIZES[2])):
                images = pictures(num_views, size)
                assert relative_l2(fast(images, 3), model(images, 3)) <= BFLOAT16_TOLERANCE


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU; `make test` on one runs this")
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-4), ("bfloat16", BFLOAT16_TOLERANCE)])
def test_graphs_on_a_gpu(make_model, precision, tolerance):
    model = make_model().cuda()
    fast, images = FastDvlt(model, precision), pictures().cuda()
    fast.prepare(3, *SIZES[0])
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for steps in (2, 4, 2):  # one graph, any K
            torch.cuda.set_sync_debug_mode("error")
            try:
                found = fast(images, steps)
            finally:
                torch.cuda.set_sync_debug_mode("default")
            assert relative_l2(found, model(images, steps)) <= tolerance
        assert len(fast._graphs._graphs) == 1
        fast.release()
        assert relative_l2(fast(images, 4), model(images, 4)) <= tolerance
