"""Frameworks on trial: one adapter per framework, named here and imported only when asked for.

An adapter is a module with ``NAME``, ``CONVENTION`` (its row of the table), ``version()`` and ``paths()``: each path is
an implementation as `refnorm.check` takes it, over NumPy arrays, which offers only what the framework does itself and
returns what the framework returns. An optional ``dtypes`` names the formats a path takes (without it: all but bfloat16)
and an optional ``mixed`` is False where x and its parameters or statistics must share one format. A path may offer
``begin(x, momentum, eps) -> y, running_mean, running_var``, one training step of a new layer; None leaves a setting to
the framework, and `refnorm identify` measures from it what a layer starts with; and ``convention``, where its row is
not the adapter's. Importing an adapter whose framework is
missing raises ImportError.
"""

ADAPTERS: dict[str, str] = {
    "refnorm": "refnorm.frameworks.reference",
    "torch": "refnorm.frameworks.torch",
    "torch-compile": "refnorm.frameworks.torch_compile",
    "executorch": "refnorm.frameworks.executorch",
    "litert": "refnorm.frameworks.litert",
    "onnx": "refnorm.frameworks.onnx",
    "onnxruntime": "refnorm.frameworks.onnxruntime",
    "onnxruntime-web": "refnorm.frameworks.onnxruntime_web",
    "tract": "refnorm.frameworks.tract",
    "flax": "refnorm.frameworks.flax",
    "haiku": "refnorm.frameworks.haiku",
    "equinox": "refnorm.frameworks.equinox",
    "xla": "refnorm.frameworks.xla",
    "iree": "refnorm.frameworks.iree",
    "tvm": "refnorm.frameworks.tvm",
    "tensorflow": "refnorm.frameworks.tensorflow",
    "tf-keras": "refnorm.frameworks.tf_keras",
    "keras": "refnorm.frameworks.keras",
    "tfjs": "refnorm.frameworks.tfjs",
    "tf-slim": "refnorm.frameworks.tf_slim",
    "tensorlayer": "refnorm.frameworks.tensorlayer",
    "paddle": "refnorm.frameworks.paddle",
    "mindspore": "refnorm.frameworks.mindspore",
    "mxnet": "refnorm.frameworks.mxnet",
    "chainer": "refnorm.frameworks.chainer",
    "nnabla": "refnorm.frameworks.nnabla",
    "megengine": "refnorm.frameworks.megengine",
    "tinygrad": "refnorm.frameworks.tinygrad",
    "mlx": "refnorm.frameworks.mlx",
    "numpy-ml": "refnorm.frameworks.numpy_ml",
    "opencv": "refnorm.frameworks.opencv",
    "openvino": "refnorm.frameworks.openvino",
    "mnn": "refnorm.frameworks.mnn",
    "ncnn": "refnorm.frameworks.ncnn",
    "caffe": "refnorm.frameworks.caffe",
    "dlib": "refnorm.frameworks.dlib",
}
