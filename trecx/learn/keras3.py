"""Descriptions that Keras 3 wrote, as tf_keras reads them.

The same layers are described in both, by other words. A description is written anew from what is known here; the rest
stays as it is, for `description` to refuse it by name.
"""

from typing import Any

_MODELS = ("Functional", "Model", "Sequential")
_LAYERS = (None, "keras.layers")  # where a layer may be from; a .h5 file does not say
_ORIGINS = (*_LAYERS, "keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential")
_PARTS = ("keras.regularizers", "keras.constraints")
_RENAMED = {("InputLayer", "batch_shape"): "batch_input_shape", ("LeakyReLU", "negative_slope"): "alpha"}
# Options that tf_keras does not have, with the value that changes nothing.
_NEUTRAL = {"optional": False, "renorm": False, "rms_scaling": False}

_MODES: tuple[dict[str, bool], ...] = ({}, {"training": False}, {"training": True})


def translated(told: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The description `told` of Keras 3 in the words of tf_keras, and what it has that tf_keras has not.

    What is not known is left as it is. A description that has not the form of Keras 3 ends in whatever Python raises.
    """
    problems: list[str] = []
    config = told["config"]
    if not _is_model(told):
        return told, [f"a {told.get('class_name')!r:.80}, which is not a model of Keras"]
    made = {key: config[key] for key in ("name", "build_input_shape") if config.get(key) is not None}
    made["layers"] = [_layer(entry, problems) for entry in config["layers"]]
    for key in ("input_layers", "output_layers"):
        if key in config:
            made[key] = _ends(config[key], key, problems)
    return {"class_name": told["class_name"], "config": made}, problems


def _is_model(entry: dict[str, Any]) -> bool:
    """Whether it is a model of Keras' own, with all that it has."""
    name = entry.get("class_name")
    return name in _MODELS and entry.get("module") in _ORIGINS and entry.get("registered_name") in (None, name)


def _layer(entry: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """A layer, with its calls where it is in a graph."""
    name, config, module = entry.get("class_name"), entry["config"], entry.get("module")
    if entry.get("registered_name") not in (None, name):
        return entry
    if _is_model(entry):
        problems.append(f"a model {config['name']!r:.80} inside the model; call its layers one by one instead")
        return {}
    ours = str(module).split(".")[0] in ("keras", "tf_keras")
    if (ours and module not in _LAYERS) or "dtype" not in config:  # every layer has one, and no operation
        problems.append(f"the operation {name!r:.80} (named {config.get('name')!r:.80}), which is no layer")
        return {}
    if module not in _LAYERS:
        return entry
    made = _options(str(name), config, problems)
    calls = entry.get("inbound_nodes")
    if calls is None:
        return {"class_name": name, "config": made}
    calls = [_call(entry, call, problems) for call in calls]
    return {"class_name": name, "config": made, "name": entry["name"], "inbound_nodes": calls}


def _ends(ends: Any, key: str, problems: list[str]) -> list[Any]:
    """The tensors [layer, node, tensor] at which a graph begins or ends."""
    if isinstance(ends, dict):
        problems.append(f"{key} by name")
        return []
    return [ends] if ends and isinstance(ends[0], str) else list(ends)


def _options(layer: str, config: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """What a layer is made with. Initializers are left out: the file has what the weights are."""
    made: dict[str, Any] = {}
    for key, value in config.items():
        if value is None or key.endswith("_initializer") or key == "renorm_momentum":
            continue
        if key in _NEUTRAL:
            if value != _NEUTRAL[key]:
                problems.append(f"a layer {layer} with {key} {value!r:.80}")
            continue
        if key.endswith("activation") and isinstance(value, dict):
            problems.append(f"the layer {value.get('class_name')!r:.80} as an activation")
            continue
        if key.endswith("activation") and value == "hard_sigmoid":
            problems.append("the activation 'hard_sigmoid', which tf_keras computes otherwise")
        made[_RENAMED.get((layer, key), key)] = _type(value, problems) if key == "dtype" else _part(value)
    return made


def _type(value: Any, problems: list[str]) -> str:
    """The type of a layer's numbers."""
    name = str(value["config"]["name"] if isinstance(value, dict) else value)
    if name.startswith("mixed") or (isinstance(value, dict) and name != "float32"):
        problems.append(f"layers of the type {name!r:.80}, not float32")
    return name


def _part(value: Any) -> Any:
    """A regularizer or a constraint."""
    if isinstance(value, dict) and value.get("module") in _PARTS and value.get("registered_name") is None:
        return {key: value[key] for key in ("class_name", "config")}
    return value


def _call(entry: dict[str, Any], call: dict[str, Any], problems: list[str]) -> list[Any]:
    """The tensors that a layer is called with: [layer, node, tensor, further arguments] of each."""
    more = {key: value for key, value in call["kwargs"].items() if value is not None}
    first, *others = call["args"] or [None]
    tensors = list(first) if isinstance(first, list | tuple) else [first]
    plain = all(isinstance(tensor, dict) and tensor.get("class_name") == "__keras_tensor__" for tensor in tensors)
    if not tensors or not plain or any(other is not None for other in others) or more not in _MODES:
        problems.append(f"a layer {entry['name']!r:.80} that is called with more than tensors")
        return []
    return [[*tensor["config"]["keras_history"], more] for tensor in tensors]
