// Attention kernels of one axis: linear queries and keys, turned by their positions, multiplied.
#pragma once

#include "mixing_backward.h"

struct AxisKernel {
  long batch, points, latent, heads, width;
  float scaling;
  int threads;
  const float *query, *key;   // (h w, latent)
  const float *cosine, *sine;  // (n, w / 2), or null
};

// x (rows, width) <- scaling times its halves turned by the angles, or back if sign is -1
INLINE void rotate(const AxisKernel& m, float sign, float scaling, float* x) {
  const long half = m.width / 2;
  for (long i = 0; i < m.points; i++)
    for (long j = 0; j < half; j += LANES) {
      float *p = x + i * m.width + j, *q = p + half;
      const vec a = load(p) * scaling, b = load(q) * scaling;
      const vec cosine = m.cosine ? load(m.cosine + i * half + j) : splat(1);
      const vec sine = m.sine ? load(m.sine + i * half + j) * sign : vec{};
      store(p, a * cosine - b * sine);
      store(q, b * cosine + a * sine);
    }
}

// z (b, n, latent) -> queries, times scaling, and keys (b, h, n, w), kernels (b, h, n, n)
static void axis_kernels(const AxisKernel& m, const float* z, float* queries, float* keys,
                         float* kernels) {
  const long n = m.points, w = m.width, c = m.latent, wide = padded(n);
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.heads; item++) {
    const long b = item / m.heads, h = item % m.heads;
    Pieces pieces(Pieces::padded(c * w) + Pieces::padded(w * wide) + Pieces::padded(n * wide));
    float *weight = pieces.next(c * w), *turned = pieces.next(w * wide);
    float* found = pieces.next(n * wide);
    float *q = queries + item * n * w, *k = keys + item * n * w;
    if (h + 1 < m.heads) {
      soon.add(m.query + (h + 1) * w * c, w * c);
      soon.add(m.key + (h + 1) * w * c, w * c);
    }
    for (long i = 0; i < 2; i++) {
      turn(w, c, (i ? m.key : m.query) + h * w * c, c, weight, w);
      product(Size{n, w, c, 1}, Left{z + b * n * c, c, 1, 0}, rows_of(weight, w),
              rows_of(i ? k : q, w));
      rotate(m, 1, i ? 1 : m.scaling, i ? k : q);
    }
    turn(n, w, k, w, turned, wide);
    product(Size{n, wide, w, 1}, Left{q, w, 1, 0}, rows_of(turned, wide), rows_of(found, wide));
    for (long i = 0; i < n; i++)
      for (long j = 0; j < n; j++) kernels[(item * n + i) * n + j] = found[i * wide + j];
  }
}

// g: gradient of the kernels -> sums per thread, dz (b, n, latent), and dquery, dkey (h w, latent).
static void axis_kernels_backward(const AxisKernel& m, const float* z, const float* queries,
                                  const float* keys, const float* g, float* dz, float* dquery,
                                  float* dkey) {
  const long n = m.points, w = m.width, c = m.latent;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long h = 0; h < m.heads; h++) {
    float* own = dz + omp_get_thread_num() * m.batch * n * c;
    Pieces pieces(Pieces::padded(n * w));
    float* d = pieces.next(n * w);
    for (long b = 0; b < m.batch; b++) {
      const long item = b * m.heads + h;
      const float *outer = g + item * n * n, *q = queries + item * n * w, *k = keys + item * n * w;
      const Panels sum = rows_of(own + b * n * c, c);
      for (long i = 0; i < 2; i++) {
        product(Size{n, w, n, 1}, i ? Left{outer, 1, n, 0} : Left{outer, n, 1, 0},
                rows_of(i ? q : k, w), rows_of(d, w));
        rotate(m, -1, i ? 1 : m.scaling, d);
        product(Size{n, c, w, 1}, Left{d, w, 1, 0},
                rows_of((i ? m.key : m.query) + h * w * c, c), sum, Start{sum});
        const Panels weights = rows_of((i ? dkey : dquery) + h * w * c, c);
        product(Size{w, c, n, 1}, Left{d, 1, w, 0}, rows_of(z + b * n * c, c), weights,
                b ? Start{weights} : Start{});
      }
    }
  }
}
