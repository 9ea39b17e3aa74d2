"""What interpreters compute for a case. The only file of these tests that imports one."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tflite_micro import runtime

from vectors.cases import Case
from vectors.flatbuffer import flatbuffer


def tflm(case: Case) -> np.ndarray:
    """The output of TensorFlow Lite Micro, int8."""
    interpreter = runtime.Interpreter.from_bytes(flatbuffer(case.node), arena_size=256 * 1024)
    for k, values in enumerate(case.inputs):
        interpreter.set_input(values, k)
    interpreter.invoke()
    return joined([np.array(interpreter.get_output(k)) for k in range(len(case.op.outputs))])


def litert(case: Case) -> np.ndarray:
    """The output of LiteRT's reference kernels, int8."""
    interpreter = Interpreter(
        model_content=flatbuffer(case.node), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    for detail, values in zip(interpreter.get_input_details(), case.inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    # In the order of the file's outputs; details come in the order of the signature's names.
    found = {detail["index"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}
    return joined([np.array(values) for _, values in sorted(found.items())])


def joined(outputs: list[np.ndarray]) -> np.ndarray:
    """The output, or the values of several one after another."""
    return outputs[0] if len(outputs) == 1 else np.concatenate([output.ravel() for output in outputs])
