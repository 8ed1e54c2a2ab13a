//! Times of the hot paths: frames and headers, encoding, the mesh by batch size, and under the simulator a whole daemon
//! with links, and with clients.

mod work;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn hot_paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hot_paths");
    for mut work in work::all() {
        group.throughput(Throughput::Elements(work.operations));
        group.bench_function(&work.name, |bencher| bencher.iter(&mut work.repeat));
    }
    group.finish();
}

criterion_group!(benches, hot_paths);
criterion_main!(benches);
