// Gradients of marching.h for one sample; hidden layers are recomputed.
#pragma once

#include "marching.h"

INLINE void multiply(float* x, const float* y, long n) {
  for (long j = 0; j < n; j += LANES) store(x + j, load(x + j) * load(y + j));
}

// d (rows, hidden) = outer last, and the sums of the gradients of last and its bias.
INLINE void last_backward(const Head& m, const float* outer, const float* active, long rows,
                          float* d, float* dlast, float* dbias) {
  const long h = m.hidden;
  for (long r = 0; r < rows; r++)
    for (long o = 0; o < m.out; o++) {
      const float g = outer[r * m.out + o];
      dbias[o] += g;
      for (long j = 0; j < h; j += LANES) {
        const vec before = o ? load(d + r * h + j) : vec{};
        store(d + r * h + j, before + load(m.last + o * h + j) * g);
        store(dlast + o * h + j, load(dlast + o * h + j) + load(active + r * h + j) * g);
      }
    }
}

// dmixed (steps, n, dim), of the grouped map's results. Sums per thread: second, last, its bias
// (padded to LANES), then per step the grouped map's weight (g, i, o) and bias (dim).
static void head_backward(const Head& m, const float* states, const float* outer, float* dmixed,
                          float* sums) {
  const long blocks = (m.points + TILE - 1) / TILE, in = m.channels / m.groups;
  const long out = m.dim / m.groups, maps = m.channels * out;
  const long common = m.hidden * m.dim + m.out * m.hidden + (m.out + LANES - 1) / LANES * LANES;
  const long size = common + m.steps * (maps + m.dim);
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.steps * blocks; item++) {
    const long step = item / blocks, i = item % blocks * TILE;
    const long rows = i + TILE < m.points ? TILE : m.points - i, at = step * m.points + i;
    float* own = sums + omp_get_thread_num() * size;
    float *dlast = own + m.hidden * m.dim, *dmaps = own + common + step * (maps + m.dim);
    const long wide = TILE * m.dim, narrow = TILE * m.hidden;
    Pieces pieces(2 * Pieces::padded(wide) + 4 * Pieces::padded(narrow));
    float *active = pieces.next(wide), *slope = pieces.next(wide), *raw = pieces.next(narrow);
    float *later = pieces.next(narrow), *later_slope = pieces.next(narrow);
    float *d = pieces.next(narrow), *g = dmixed + at * m.dim;
    const float* x = states + at * m.channels;
    if (item + 1 < m.steps * blocks) soon.add(x + rows * m.channels, TILE * m.channels);
    grouped_map(m, step, x, rows, active);
    gelu_rows(active, rows * m.dim, active, slope);
    product(Size{rows, m.hidden, m.dim, 1}, Left{active, m.dim, 1, 0},
            rows_of(m.second_turned, m.hidden), rows_of(raw, m.hidden));
    gelu_rows(raw, rows * m.hidden, later, later_slope);
    last_backward(m, outer + at * m.out, later, rows, d, dlast, dlast + m.out * m.hidden);
    multiply(d, later_slope, rows * m.hidden);
    add_outer(rows, d, m.hidden, m.hidden, active, m.dim, m.dim, own);
    product(Size{rows, m.dim, m.hidden, 1}, Left{d, m.hidden, 1, 0}, rows_of(m.second, m.dim),
            rows_of(g, m.dim));
    multiply(g, slope, rows * m.dim);
    for (long k = 0; k < m.groups; k++) {
      const Panels sum = rows_of(dmaps + k * in * out, out);
      product(Size{in, out, rows, 1}, Left{x + k * in, 1, m.channels, 0},
              rows_of(g + k * out, m.dim), sum, Start{sum});
    }
    add_rows(g, rows, m.dim, dmaps + maps);
  }
}

struct Sums {  // of the gradients of a March's parameters, one after the other
  float *embeddings, *scale, *shift, *up, *up_bias, *down, *down_bias;
  Sums(const March& m, float* p) {
    const long c = m.channels, h = m.hidden;
    embeddings = p, scale = p + m.steps * c, shift = scale + c, up = shift + c;
    up_bias = up + h * c, down = up_bias + h, down_bias = down + c * h;
  }
  static long size(const March& m) {
    return (m.steps + 3) * m.channels + 2 * m.channels * m.hidden + m.hidden;
  }
};

// g += gradient of the layer norm of moved, given d, the gradient of its result.
INLINE void norm_backward_row(const float* moved, Moments m, const float* scale, const float* d,
                              float* dscale, float* dshift, float* g, long n) {
  vec sum = {}, dot = {};
  for (long j = 0; j < n; j += LANES) {
    const vec unit = (load(moved + j) - m.mean) * m.scale, outer = load(d + j);
    store(dscale + j, load(dscale + j) + outer * unit);
    store(dshift + j, load(dshift + j) + outer);
    sum += outer * load(scale + j);
    dot += outer * load(scale + j) * unit;
  }
  const float mean = total(sum) / n, slope = total(dot) / n;
  for (long j = 0; j < n; j += LANES) {
    const vec unit = (load(moved + j) - m.mean) * m.scale;
    const vec own = load(d + j) * load(scale + j) - mean - unit * slope;
    store(g + j, load(g + j) + own * m.scale);
  }
}

struct StepMemory {
  float *g, *moved, *normal, *back, *active, *slope, *d;
  Moments* moments;
};

// g: gradient of the states after a step -> of the states before it, x; raw: as `march` kept it.
static void step_backward(const March& m, const Sums& s, long step, const float* x,
                          const float* raw, long rows, const StepMemory& t) {
  const long c = m.channels, h = m.hidden;
  move_and_norm(m, step, x, rows, t.moved, t.normal, t.moments);
  gelu_rows(raw, rows * h, t.active, t.slope);
  add_outer(rows, t.g, c, c, t.active, h, h, s.down);
  add_rows(t.g, rows, c, s.down_bias);
  product(Size{rows, h, c, 1}, Left{t.g, c, 1, 0}, rows_of(m.down, h), rows_of(t.d, h));
  multiply(t.d, t.slope, rows * h);
  add_outer(rows, t.d, h, h, t.normal, c, c, s.up);
  add_rows(t.d, rows, h, s.up_bias);
  product(Size{rows, c, h, 1}, Left{t.d, h, 1, 0}, rows_of(m.up, c), rows_of(t.back, c));
  for (long i = 0; i < rows; i++)
    norm_backward_row(t.moved + i * c, t.moments[i], m.scale, t.back + i * c, s.scale, s.shift,
                      t.g + i * c, c);
  add_rows(t.g, rows, c, s.embeddings + step * c);
}

// g (rows, c) of the states x after a step: += what the head and its norm give.
INLINE void add_head(const Head& m, long step, const float* x, const float* dmixed, long rows,
                     const float* slope, const float* offset, float* g) {
  const long c = m.channels, in = c / m.groups, out = m.dim / m.groups;
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < c; j += LANES)
      store(g + i * c + j, load(g + i * c + j) + load(x + i * c + j) * load(slope + j) +
                               load(offset + j));
  for (long k = 0; k < m.groups; k++) {
    const Panels target = rows_of(g + k * in, c);
    product(Size{rows, in, out, 1}, Left{dmixed + k * out, m.dim, 1, 0},
            rows_of(m.weight_turned + (step * m.groups + k) * in * out, in), target, Start{target});
  }
}

// dstart (n, c); slope, offset (steps, c) of the head's norm; sums per thread: see Sums.
static void march_backward(const March& m, const Head& head, const float* start,
                           const float* states, const float* raw, const float* dmixed,
                           const float* slope, const float* offset, float* dstart, float* sums) {
  const long c = m.channels, h = m.hidden, blocks = (m.points + TILE - 1) / TILE;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long block = 0; block < blocks; block++) {
    const long i = block * TILE, rows = i + TILE < m.points ? TILE : m.points - i;
    const Sums own(m, sums + omp_get_thread_num() * Sums::size(m));
    Pieces pieces(3 * Pieces::padded(TILE * c) + 3 * Pieces::padded(TILE * h) +
                  Pieces::padded(2 * TILE));
    float *moved = pieces.next(TILE * c), *normal = pieces.next(TILE * c);
    float *back = pieces.next(TILE * c), *active = pieces.next(TILE * h);
    float *gslope = pieces.next(TILE * h), *d = pieces.next(TILE * h);
    const StepMemory memory{dstart + i * c, moved, normal, back, active, gslope, d,
                            (Moments*)pieces.next(2 * TILE)};
    for (long j = 0; j < rows * c; j += LANES) store(memory.g + j, vec{});
    for (long step = m.steps - 1; step >= 0; step--) {
      const long at = step * m.points + i;
      add_head(head, step, states + at * c, dmixed + at * head.dim, rows, slope + step * c,
               offset + step * c, memory.g);
      const float* before = step ? states + (at - m.points) * c : start + i * c;
      if (step) {
        soon.add(before - (step > 1 ? m.points * c : 0), rows * c);
        soon.add(raw + (at - m.points) * h, rows * h);
        soon.add(dmixed + (at - m.points) * head.dim, rows * head.dim);
      }
      step_backward(m, own, step, before, raw + at * h, rows, memory);
    }
  }
}
