//! The same models written down plainly in f64, with a place where keys and values can be rounded:
//! candle-transformers has none.

use super::tiny::{Tiny, Values};

/// Where a number is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) layer: usize,
    /// Key and value head.
    pub(crate) head: usize,
    /// A value, or else a key.
    pub(crate) value: bool,
}

/// Logits at every position of `tokens` by a dense Qwen3 or Llama whose keys and values become
/// `store` of what they are.
pub(crate) fn logits(
    model: &Tiny,
    tokens: &[u32],
    store: &dyn Fn(Place, f32) -> f32,
) -> Vec<Vec<f32>> {
    let plain = Plain::new(model);
    let embedding = &model.tensors["model.embed_tokens.weight"];
    let mut rows: Vec<Vec<f64>> = tokens
        .iter()
        .map(|&token| {
            let row = &embedding.data[token as usize * plain.hidden..][..plain.hidden];
            row.iter().map(|&x| f64::from(x)).collect()
        })
        .collect();
    for layer in 0..plain.layers {
        plain.attend(layer, &mut rows, store);
        plain.feed_forward(layer, &mut rows);
    }
    let head = model.tensors.get("lm_head.weight").unwrap_or(embedding);
    let logits = |row: &Vec<f64>| {
        let normed = plain.norm("model.norm", row);
        product(head, &normed).into_iter().map(|x| x as f32).collect()
    };
    rows.iter().map(logits).collect()
}

struct Plain<'a> {
    model: &'a Tiny,
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    theta: f64,
    eps: f64,
}

impl<'a> Plain<'a> {
    fn new(model: &'a Tiny) -> Self {
        let size = |field: &str| model.config[field].as_u64().unwrap() as usize;
        Self {
            model,
            hidden: size("hidden_size"),
            layers: size("num_hidden_layers"),
            heads: size("num_attention_heads"),
            kv_heads: size("num_key_value_heads"),
            head_dim: size("head_dim"),
            theta: model.config["rope_theta"].as_f64().unwrap(),
            eps: model.config["rms_norm_eps"].as_f64().unwrap(),
        }
    }

    fn norm(&self, module: &str, x: &[f64]) -> Vec<f64> {
        let weight = &self.model.tensors[&format!("{module}.weight")].data;
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean + self.eps).sqrt();
        x.iter().zip(weight).map(|(x, &w)| x * scale * f64::from(w)).collect()
    }

    fn linear(&self, module: &str, x: &[f64]) -> Vec<f64> {
        product(&self.model.tensors[&format!("{module}.weight")], x)
    }

    /// Heads of a projection, normalised where the model does that and turned to a position.
    fn heads(&self, layer: usize, part: &str, x: &[f64], position: usize) -> Vec<Vec<f64>> {
        let module = format!("model.layers.{layer}.self_attn.{part}");
        let all = self.linear(&format!("{module}_proj"), x);
        let norm = format!("{module}_norm");
        let head = |head: &[f64]| {
            let named = self.model.tensors.contains_key(&format!("{norm}.weight"));
            let head = if named { self.norm(&norm, head) } else { head.to_vec() };
            if part == "v" { head } else { self.turn(&head, position) }
        };
        all.chunks(self.head_dim).map(head).collect()
    }

    fn turn(&self, head: &[f64], position: usize) -> Vec<f64> {
        let half = head.len() / 2;
        let mut turned = head.to_vec();
        for i in 0..half {
            let angle = position as f64 * self.theta.powf(-((2 * i) as f64) / head.len() as f64);
            let (sin, cos) = angle.sin_cos();
            turned[i] = head[i] * cos - head[i + half] * sin;
            turned[i + half] = head[i + half] * cos + head[i] * sin;
        }
        turned
    }

    fn attend(&self, layer: usize, rows: &mut [Vec<f64>], store: &dyn Fn(Place, f32) -> f32) {
        let module = format!("model.layers.{layer}");
        // One entry per token, of one vector per head.
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (position, row) in rows.iter_mut().enumerate() {
            let x = self.norm(&format!("{module}.input_layernorm"), row);
            let stored = |part: &str, value: bool| -> Vec<Vec<f64>> {
                let heads = self.heads(layer, part, &x, position).into_iter().enumerate();
                heads
                    .map(|(head, numbers)| {
                        let place = Place { layer, head, value };
                        let store = |x: f64| f64::from(store(place, x as f32));
                        numbers.into_iter().map(store).collect()
                    })
                    .collect()
            };
            keys.push(stored("k", false));
            values.push(stored("v", true));
            let queries = self.heads(layer, "q", &x, position);
            let attended: Vec<f64> = queries
                .iter()
                .enumerate()
                .flat_map(|(head, query)| {
                    let kv_head = head / (self.heads / self.kv_heads);
                    softmax_sum(query, kv_head, &keys, &values)
                })
                .collect();
            add(row, &self.linear(&format!("{module}.self_attn.o_proj"), &attended));
        }
    }

    fn feed_forward(&self, layer: usize, rows: &mut [Vec<f64>]) {
        let module = format!("model.layers.{layer}");
        for row in rows {
            let x = self.norm(&format!("{module}.post_attention_layernorm"), row);
            let gate = self.linear(&format!("{module}.mlp.gate_proj"), &x);
            let up = self.linear(&format!("{module}.mlp.up_proj"), &x);
            let silu = |x: f64| x / (1.0 + (-x).exp());
            let activated: Vec<f64> = gate.iter().zip(&up).map(|(&g, u)| silu(g) * u).collect();
            add(row, &self.linear(&format!("{module}.mlp.down_proj"), &activated));
        }
    }
}

fn product(matrix: &Values, x: &[f64]) -> Vec<f64> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&w, x)| f64::from(w) * x).sum();
    matrix.data.chunks(x.len()).map(dot).collect()
}

fn add(row: &mut [f64], delta: &[f64]) {
    row.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
}

fn softmax_sum(
    query: &[f64],
    head: usize,
    keys: &[Vec<Vec<f64>>],
    values: &[Vec<Vec<f64>>],
) -> Vec<f64> {
    let scale = 1.0 / (query.len() as f64).sqrt();
    let dot = |key: &[f64]| key.iter().zip(query).map(|(k, q)| k * q).sum::<f64>() * scale;
    let scores: Vec<f64> = keys.iter().map(|token| dot(&token[head])).collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut sum = vec![0.0; query.len()];
    for (weight, token) in weights.iter().zip(values) {
        sum.iter_mut().zip(&token[head]).for_each(|(sum, v)| *sum += weight / total * v);
    }
    sum
}
