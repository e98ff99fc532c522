//! Scales of inputs (AWQ) and where they go: into the norm or the rows that make the inputs.

use std::collections::HashMap;

use eitri_quant::{
    Encoding, Matrix,
    scheme::{ScaleSearch, search_scales},
};

use super::{
    calibrator::LayerInputs,
    network::{Group, Layer, Module, Point},
    session::{Session, dense},
};
use crate::{
    ModelError, MoeConfig,
    weights::{Naming, Slot},
};

/// What one layer's values are multiplied by before they are rounded.
#[derive(Default)]
pub(super) struct Folding {
    /// By column, for all modules of a point.
    columns: HashMap<Point, Vec<f32>>,
    /// By row, of single modules.
    rows: HashMap<String, Vec<f32>>,
    /// New values of norms and of the router.
    pub(super) replaced: HashMap<String, Vec<f32>>,
}

impl Folding {
    /// The scaled values of a module.
    pub(super) fn values(&self, point: Point, module: &Module<'_>) -> Result<Vec<f32>, ModelError> {
        let mut values = module.values()?;
        let [_, k] = module.shape();
        let columns = self.columns.get(&point);
        let rows = self.rows.get(&module.name);
        for (i, row) in values.chunks_exact_mut(k).enumerate() {
            if let Some(columns) = columns {
                row.iter_mut().zip(columns).for_each(|(value, factor)| *value *= factor);
            }
            if let Some(rows) = rows {
                let factor = rows[i];
                for value in row {
                    *value *= factor;
                }
            }
        }
        Ok(values)
    }
}

/// Searches the scales of a layer, in the places where `AutoAWQ` does for Qwen3: behind the norms,
/// between values and the attention's output where there are as many value heads as query heads,
/// and between the two halves of each feed-forward network. A router behind a norm is unscaled in
/// its own columns.
pub(super) fn fold(
    session: &mut Session<'_>,
    layer: &Layer<'_>,
    number: usize,
    inputs: &LayerInputs,
) -> Result<Folding, ModelError> {
    let mut folding = Folding::default();
    let groups = |wanted: fn(Point) -> bool| -> Vec<&Group<'_>> {
        layer.groups.iter().filter(|group| wanted(group.point)).collect()
    };
    let mut folder = Folder { session, inputs, folding: &mut folding };
    let attention = groups(|point| point == Point::Attention);
    folder.norm(Slot::AttentionNorm, number, Point::Attention, &attention)?;
    let output = groups(|point| point == Point::Attended);
    if let (Some(value), Some(output)) = (attention[0].modules.last(), output.first())
        && value.shape()[0] == output.modules[0].shape()[1]
    {
        folder.rows(value, output)?;
    }
    let wide = groups(|point| matches!(point, Point::FeedForward | Point::Expert(_)));
    let factors = folder.norm(Slot::FeedForwardNorm, number, Point::FeedForward, &wide)?;
    let config = folder.session.files.config();
    if let (Some(moe), Some(factors)) = (&config.moe, &factors)
        && moe.is_sparse(number)
    {
        folder.router(number, moe, factors)?;
    }
    let down = groups(|point| matches!(point, Point::Activated | Point::ExpertActivated(_)));
    for (wide, down) in wide.into_iter().zip(down) {
        if let Some(up) = wide.modules.last() {
            folder.rows(up, down)?;
        }
    }
    Ok(folding)
}

struct Folder<'s, 'a, 'f> {
    session: &'s mut Session<'a>,
    inputs: &'s LayerInputs,
    folding: &'f mut Folding,
}

impl Folder<'_, '_, '_> {
    /// Scales the inputs of these groups, which a norm makes. Returns what columns are multiplied by.
    fn norm(
        &mut self,
        slot: Slot,
        layer: usize,
        point: Point,
        groups: &[&Group<'_>],
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(factors) = self.search(point, groups)? else { return Ok(None) };
        let files = self.session.files;
        let name = format!("{}.weight", Naming::HuggingFace.module(slot, layer));
        let old = files.weights().norm(slot, layer)?;
        let encoding = files.checkpoint().tensor(&name)?.encoding;
        let wanted: Vec<f32> = old.iter().zip(&factors).map(|(old, by)| old / by).collect();
        let mut new = rounded(&wanted, encoding)?;
        // The factors that the stored norm undoes exactly, not those that were asked for.
        let mut exact = Vec::with_capacity(factors.len());
        for (new, &old) in new.iter_mut().zip(&old) {
            let factor = old / *new;
            let is_usable = factor.is_normal() && factor > 0.0;
            if !is_usable {
                *new = old;
            }
            exact.push(if is_usable { factor } else { 1.0 });
        }
        self.folding.replaced.insert(name, new);
        for group in groups {
            self.folding.columns.insert(group.point, exact.clone());
        }
        Ok(Some(exact))
    }

    /// Scales the inputs of a group, which the rows of a module make.
    fn rows(&mut self, source: &Module<'_>, group: &Group<'_>) -> Result<(), ModelError> {
        if let Some(factors) = self.search(group.point, &[group])? {
            let rows = factors.iter().map(|factor| 1.0 / factor).collect();
            self.folding.rows.insert(source.name.clone(), rows);
            self.folding.columns.insert(group.point, factors);
        }
        Ok(())
    }

    /// Undoes the factors of a norm in the columns of the router behind it.
    fn router(&mut self, layer: usize, moe: &MoeConfig, factors: &[f32]) -> Result<(), ModelError> {
        let router: Matrix<'_> = self.session.files.weights().router(layer, moe)?;
        let mut values = vec![0.0; router.n() * router.k()];
        for (row, out) in values.chunks_exact_mut(router.k()).enumerate() {
            router.dequantise_row(row, out)?;
            out.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        }
        let name = format!("{}.weight", Naming::HuggingFace.module(Slot::Router, layer));
        self.folding.replaced.insert(name, values);
        Ok(())
    }

    /// The best factors for groups with common inputs; `None` when the inputs were never seen.
    fn search(
        &mut self,
        point: Point,
        groups: &[&Group<'_>],
    ) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(inputs) = self.inputs.get(&point).filter(|inputs| inputs.rows() > 0) else {
            return Ok(None);
        };
        let modules = || groups.iter().flat_map(|group| &group.modules);
        let Some(first) = modules().next() else { return Ok(None) };
        let values = modules().map(Module::values).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let (scheme, threads) = (self.session.scheme, self.session.threads);
        let search = ScaleSearch {
            modules: &values,
            k: first.shape()[1],
            means: &inputs.means(),
            sample: &inputs.sample,
            scales: scheme.scale_encoding(first.encoding()),
            threads,
        };
        let factors = search_scales(&scheme, &search)?;
        self.session.advance(0)?;
        Ok(Some(factors))
    }
}

fn rounded(values: &[f32], encoding: Encoding) -> Result<Vec<f32>, ModelError> {
    let stored = dense(values, encoding)?;
    let mut rounded = vec![0.0; values.len()];
    eitri_quant::quantize::decode(encoding, &stored, &mut rounded)?;
    Ok(rounded)
}
