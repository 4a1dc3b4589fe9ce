//! Materializers: they turn a ready snapshot into files.
//!
//! There is one file for each kind that a spec can name. The trait [`Materializer`] is re-exported from `spec`, because
//! a spec that a Rust program builds contains such materializers.
//!
//! **Neighbours.** `spec` describes the materializers, `template` renders texts. `cluster` calls the materializers and
//! seals what they return.
//!
//! **Invariants.**
//! - `template` and `precomputed` depend on the snapshot and on the files that the spec names. They do not depend on
//!   time, environment, arrival order or the number of threads.
//! - Reading, rendering and programs have bounds: sizes, steps and times.
//! - No error contains the content of a secret file.

mod exec;
mod precomputed;
mod template;

use std::sync::Arc;

use self::{
    exec::ExecMaterializer, precomputed::PrecomputedMaterializer, template::TemplateMaterializer,
};
pub use cfgsync_spec::{
    Audience, MaterializationResult, MaterializeError, Materializer, ReadableValues,
};
use cfgsync_spec::{MaterializerSpec, Spec};

/// Returns the materializers of `spec`, in its order.
pub fn build(spec: &Spec) -> Vec<Arc<dyn Materializer>> {
    let build_one = |kind: &MaterializerSpec| -> Arc<dyn Materializer> {
        match kind {
            MaterializerSpec::Template(spec) => Arc::new(TemplateMaterializer::new(spec)),
            MaterializerSpec::Precomputed(spec) => Arc::new(PrecomputedMaterializer::new(spec)),
            MaterializerSpec::Exec(spec) => Arc::new(ExecMaterializer::new(spec)),
            MaterializerSpec::Embedded(materializer) => Arc::clone(&materializer.0),
        }
    };
    spec.materializers.iter().map(build_one).collect()
}
