// Gradients of mixing.h, one sample at a time. Sums over points are made per thread, each thread
// adding its own share in order: two runs with as many threads give the same bits.
#pragma once

#include "mixing.h"

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_thread_num() { return 0; }
#endif

INLINE void add_rows(const float* x, long rows, long n, float* sum) {
  for (long j = 0; j < n; j += LANES) {
    vec s = load(sum + j);
    for (long i = 0; i < rows; i++) s += load(x + i * n + j);
    store(sum + j, s);
  }
}

// sum (rows, columns) += a^T b over points: a (points, rows), b (points, columns)
INLINE void add_outer(long points, const float* a, long arow, long rows, const float* b, long brow,
                      long columns, float* sum) {
  const Panels c = rows_of(sum, columns);
  product(Size{rows, columns, points, 1}, Left{a, 1, arow, 0}, rows_of(b, brow), c, Start{c});
}

struct ProjectionGradient {
  const float *second, *scale;  // second (p, o); scale per x or null
  long second_out;
};

// One x of project_backward; returns its dot.
static float second_backward(const Mixing& m, const ProjectionGradient& w, long x,
                             const float* mixed, const float* dy, float* dmixed, float* steps,
                             float* sum) {
  const long o = m.out, p = w.second_out;
  Pieces pieces(2 * Pieces::padded(TILE * o));
  float *active = pieces.next(TILE * o), *slope = pieces.next(TILE * o);
  vec dot = {};
  for (long i = 0; i < m.rest; i += TILE) {
    const long rows = i + TILE < m.rest ? TILE : m.rest - i, at = x * m.rest + i;
    const float *z = mixed + at * o, *outer = dy + at * p;
    float* d = dmixed + at * o;
    gelu_rows(z, rows * o, active, slope);
    add_outer(rows, outer, p, p, active, o, o, sum);
    product(Size{rows, o, p, 1}, Left{outer, p, 1, 0}, rows_of(w.second, o), rows_of(d, o));
    for (long j = 0; j < rows * o; j += LANES) {
      vec g = load(d + j) * load(slope + j);
      if (w.scale) {
        dot += g * load(z + j);
        g *= w.scale[x];
      }
      store(d + j, g);
    }
    add_rows(d, rows, o, steps);
  }
  return total(dot);
}

// dmixed (x, rest, o) of the unnormalised sums, times scale if given; per x: steps (o), their sum
// over rest, and dots, sum of the gradient of mixed times mixed (if scale is given).
// sums per thread: second (p, o), raw (h d, o) = sum of results^T dmixed; in parallel read h part d
// for h d here and below.
static void project_backward(const Mixing& m, const ProjectionGradient& w, const float* results,
                             const float* mixed, const float* dy, float* dmixed, float* steps,
                             float* dots, float* sums) {
  const long o = m.out, p = w.second_out, f = m.results(), size = p * o + f * o;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long x = 0; x < m.first; x++) {
    float* own = sums + omp_get_thread_num() * size;
    const float* q = results + x * m.slab;
    if (x + 1 < m.first) {
      soon.add(mixed + (x + 1) * m.rest * o, m.rest * o);
      soon.add(dy + (x + 1) * m.rest * p, m.rest * p);
      soon.add(q + m.slab, m.slab);
    }
    dots[x] = second_backward(m, w, x, mixed, dy, dmixed, steps + x * o, own);
    for (long i = 0; i < m.rest; i += TILE)
      add_outer(i + TILE < m.rest ? TILE : m.rest - i, q + i * f, f, f,
                dmixed + (x * m.rest + i) * o, o, o, own + p * o);
  }
}

// Gradients of results <- dmixed weight^T + slope results + offset; weight (o, h d); slope, offset
// (h d), `apart` numbers from x to x. g: in the layout of partial, of the first axis's part;
// g_apart (x, h, part, rest, d): of the parts of all other axes.
static void results_backward(const Mixing& m, const float* dmixed, const float* weight,
                             const float* slope, const float* offset, long apart,
                             const float* results, float* g, float* g_apart) {
  const long f = m.results(), o = m.out, panels = m.width / PANEL, others = m.parts - 1;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long x = 0; x < m.first; x++) {
    for (long i = 0; i < m.rest; i += TILE) {
      const long rows = i + TILE < m.rest ? TILE : m.rest - i;
      if (x + 1 < m.first) {
        soon.add(results + (x + 1) * m.slab + i * f, rows * f);
        soon.add(dmixed + ((x + 1) * m.rest + i) * o, rows * o);
      }
      for (long k = 0; k < m.heads * m.parts; k++) {
        const long h = k / m.parts, part = k % m.parts;
        const long column = k * m.width, at = x * apart + column;
        const float* q = results + x * m.slab + i * f + column;
        Panels target{g + ((h * m.rest + i) * panels) * m.apart + x * PANEL, panels * m.apart,
                      m.apart, 0};
        if (part)
          target = rows_of(g_apart + ((x * m.heads + h) * others + part - 1) * m.head() +
                               i * m.width, m.width);
        product(Size{rows, m.width, o, 1}, Left{dmixed + (x * m.rest + i) * o, o, 1, 0},
                rows_of(weight + column, f), target,
                Start{rows_of(q, f), slope + at, offset + at}, Finish{m.stream != 0});
      }
    }
    finish_stores();
  }
}

static const long GROUP = 4;  // points of the rest whose part of a kernel's gradient is one product

// dpartial (x, h, rest, d) <- kernel^T g; dkernel (h, x, x padded) += g partial^T
static void first_axis_backward(const Mixing& m, const float* kernels, const float* partial,
                                const float* g, float* dpartial, float* dkernels) {
  const long n = m.first, wide = padded(n), panels = m.width / PANEL;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long h = 0; h < m.heads; h++) {
    Pieces pieces(Pieces::padded(GROUP * m.width * wide));
    float* turned = pieces.next(GROUP * m.width * wide);
    const Left kernel{kernels + h * n * n, 1, n, 0};
    for (long y = 0; y < m.rest; y += GROUP) {
      const long count = y + GROUP < m.rest ? GROUP : m.rest - y;
      const long at = (h * m.rest + y) * panels * m.apart, share = count * panels * m.apart;
      if (y + GROUP < m.rest) {
        soon.add(g + at + share, share);
        soon.add(partial + at + share, share);
      }
      for (long j = 0; j < count * panels; j++)
        turn(n, PANEL, partial + at + j * m.apart, PANEL, turned + j * PANEL * wide, wide);
      const Panels sum = rows_of(dkernels + h * n * wide, wide);
      product(Size{n, wide, PANEL, count * panels}, Left{g + at, PANEL, 1, m.apart},
              Panels{turned, wide, PANEL, PANEL * wide}, sum, Start{sum});
      for (long i = 0; i < count; i++)
        product(Size{n, m.width, n, 1}, kernel,
                Panels{(float*)g + at + i * panels * m.apart, PANEL, m.apart, 0},
                rows_of(dpartial + (h * m.rest + y + i) * m.width, m.heads * m.head()), Start{},
                Finish{m.stream != 0});
    }
    finish_stores();
  }
}

// sum (n, n padded) += sum over segments of a x^T; a, x (segments, n, inner), `jump` apart
static void correlate(long n, long inner, long segments, const float* a, long ajump, const float* x,
                      long xjump, float* turned, float* sum) {
  const long wide = padded(n), most = inner < INNER ? INNER / inner : 1;
  const Panels c = rows_of(sum, wide);
  for (long s = 0; s < segments; s += most) {
    const long count = s + most < segments ? most : segments - s;
    for (long k = 0; k < inner; k += INNER) {
      const long part = k + INNER < inner ? INNER : inner - k;
      for (long t = 0; t < count; t++)
        turn(n, part, x + (s + t) * xjump + k, inner, turned + t * part * wide, wide);
      product(Size{n, wide, part, count}, Left{a + s * ajump + k, inner, 1, ajump},
              Panels{turned, wide, PANEL, part * wide}, c, Start{c});
    }
  }
}

struct OthersGradient {
  const float *u, *weight, *values;         // weight (h d, c)
  const float* const* kernels;              // (h, n, n)
  const float *dpartial, *g_apart;          // (x, h, rest, d), (x, h, part, rest, d) in parallel
  float *du, *sums;                         // sums per thread: weight, then each kernel's
  long size;                                // numbers in a thread's sums
};

INLINE long longest(const Mixing& m) {
  long n = 1;
  for (long axis = 0; axis < m.rank; axis++) n = n > m.axes[axis] ? n : m.axes[axis];
  return padded(n);
}

// One head of `count` x from `start`: sums of the kernels' gradients; dv (x, rest, h d).
static void head_backward(const Mixing& m, const OthersGradient& w, long h, long start, long count,
                          float* memory, float* turned, float* dv, float* own) {
  const long head = m.head(), last = m.rank - 1, jump = m.heads * head;
  const float *v = w.values + (start * m.heads + h) * head;
  const float *g = w.dpartial + (start * m.heads + h) * head;
  float* sum = own + m.features() * m.channels;
  // memory: per axis but the last the values as they come to it, then two gradients; x by x
  float* spare = memory + last * count * head;
  const float* states[8];
  long jumps[8], after = m.width;
  states[last] = v, jumps[last] = jump;
  for (long axis = last; axis > 0; axis--) {
    const long n = m.axes[axis], before = head / (n * after);
    float* next = memory + (axis - 1) * count * head;
    for (long x = 0; x < count; x++)
      contract(n, before, after, Left{w.kernels[axis] + h * n * n, n, 1, 0},
               states[axis] + x * jumps[axis], rows_of(next + x * head, after), n * after);
    states[axis - 1] = next, jumps[axis - 1] = head;
    after *= n;
  }
  long gjump = jump;
  for (long axis = 0; axis <= last; axis++) {
    const long n = m.axes[axis];
    after = axis ? after / n : after;
    const float* x = states[axis];
    if (axis == 0) {
      correlate(n, after, count, g, gjump, x, jumps[0], turned, sum + h * n * padded(n));
    } else {
      for (long i = 0; i < count; i++)
        correlate(n, after, head / (n * after), g + i * gjump, n * after, x + i * jumps[axis],
                  n * after, turned, sum + h * n * padded(n));
    }
    const Left kernel{w.kernels[axis] + h * n * n, 1, n, 0};
    for (long i = 0; i < count; i++) {
      if (axis == last) {  // after == width: rows of dv
        const long f = m.features();
        contract(n, head / (n * after), after, kernel, g + i * gjump,
                 rows_of(dv + i * m.rest * f + h * m.width, f), n * f);
      } else {
        contract(n, head / (n * after), after, kernel, g + i * gjump,
                 rows_of(spare + ((axis % 2) * count + i) * head, after), n * after);
      }
    }
    g = spare + (axis % 2) * count * head, gjump = head;
    sum += m.heads * n * padded(n);
  }
}

// The same in parallel: dv <- dpartial and what comes through each other axis alone.
static void head_backward_apart(const Mixing& m, const OthersGradient& w, long h, long start,
                                long count, float* turned, float* dv, float* own) {
  const long head = m.head(), d = m.width, f = m.features(), others = m.parts - 1;
  float* sum = own + f * m.channels;
  for (long axis = 0; axis < m.rank; axis++) {
    const Line on = line(m, axis);
    const long n = on.n;
    const Left kernel{w.kernels[axis] + h * n * n, 1, n, 0};
    for (long x = 0; x < count; x++) {
      const long at = (start + x) * m.heads + h;
      const float *v = w.values + at * head, *g = w.g_apart + (at * others + axis) * head;
      correlate(n, on.after * d, on.before, g, n * on.after * d, v, n * on.after * d, turned,
                sum + h * n * padded(n));
      for (long i = 0; i < on.before; i++)
        for (long j = 0; j < on.after; j++) {
          const long from = on.at(i, j);
          const Panels target = rows_of(dv + (x * m.rest + from) * f + h * d, on.after * f);
          const Panels first = rows_of(w.dpartial + at * head + from * d, on.after * d);
          product(Size{n, d, n, 1}, kernel, rows_of(g + from * d, on.after * d), target,
                  Start{axis ? target : first});
        }
    }
    sum += m.heads * n * padded(n);
  }
}

static void others_backward(const Mixing& m, const OthersGradient& w) {
  const long f = m.features(), c = m.channels, head = m.head();
  const long block = head > 1 << 15 ? 1 : 2, blocks = (m.first + block - 1) / block;
  const long turning = INNER * longest(m);
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < blocks; item++) {
    const long start = item * block, count = start + block < m.first ? block : m.first - start;
    float* own = w.sums + omp_get_thread_num() * w.size;
    const long states = (m.rank + 1) * block * head;
    Pieces pieces(Pieces::padded(states) + Pieces::padded(turning) +
                  Pieces::padded(block * m.rest * f));
    float *memory = pieces.next(states), *turned = pieces.next(turning);
    float* dv = pieces.next(block * m.rest * f);
    for (long h = 0; h < m.heads; h++) {
      for (long x = start; x < start + count && h + 1 < m.heads; x++) {
        soon.add(w.values + (x * m.heads + h + 1) * head, head);
        soon.add(w.dpartial + (x * m.heads + h + 1) * head, head);
      }
      if (m.parallel())
        head_backward_apart(m, w, h, start, count, turned, dv, own);
      else
        head_backward(m, w, h, start, count, memory, turned, dv, own);
    }
    const long rows = count * m.rest;
    const float* u = w.u + start * m.rest * c;
    float* du = w.du + start * m.rest * c;
    for (long i = 0; i < rows; i += INNER)
      add_outer(i + INNER < rows ? INNER : rows - i, dv + i * f, f, f, u + i * c, c, c, own);
    for (long i = 0; i < rows; i += TILE) {
      const long part = i + TILE < rows ? TILE : rows - i;
      for (long k = 0; k < f; k += INNER) {
        const long inner = k + INNER < f ? INNER : f - k;
        const Panels target = rows_of(du + i * c, c);
        product(Size{part, c, inner, 1}, Left{dv + i * f + k, f, 1, 0},
                rows_of(w.weight + k * c, c), target, k ? Start{target} : Start{});
      }
    }
  }
}
