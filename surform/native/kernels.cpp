// The functions that Python calls.
#include "axis_kernel.h"
#include "mixture.h"
#include "pooling.h"

extern "C" {

int surform_panel() { return PANEL; }

int surform_tile() { return TILE; }

void surform_values_and_others(const Mixing* m, const float* u, const float* weight,
                               const float* const* kernels, float* values, float* partial,
                               float* results, float* start, float* sum, float* square) {
  values_and_others(*m, u, weight, kernels, values, partial, results, start, sum, square);
}

void surform_first_axis(const Mixing* m, const float* kernels, const float* partial,
                        float* results, float* start, float* sum, float* square) {
  first_axis(*m, kernels, partial, results, start, sum, square);
}

void surform_project(const Mixing* m, const Projection* w, const float* results, float* mixed,
                     float* y) {
  project(*m, *w, results, mixed, y);
}

void surform_project_backward(const Mixing* m, const ProjectionGradient* w, const float* results,
                              const float* mixed, const float* dy, float* dmixed, float* steps,
                              float* dots, float* sums) {
  project_backward(*m, *w, results, mixed, dy, dmixed, steps, dots, sums);
}

void surform_results_backward(const Mixing* m, const float* dmixed, const float* weight,
                              const float* slope, const float* offset, long apart,
                              const float* results, float* g, float* g_apart) {
  results_backward(*m, dmixed, weight, slope, offset, apart, results, g, g_apart);
}

void surform_first_axis_backward(const Mixing* m, const float* kernels, const float* partial,
                                 const float* g, float* dpartial, float* dkernels) {
  first_axis_backward(*m, kernels, partial, g, dpartial, dkernels);
}

void surform_others_backward(const Mixing* m, const OthersGradient* w) { others_backward(*m, *w); }

void surform_march(const March* m, const float* start, float* states, float* raw, float* means,
                   float* squares) {
  march(*m, start, states, raw, means, squares);
}

void surform_read_head(const Head* m, const float* states, float* frames) {
  read_head(*m, states, frames);
}

void surform_head_backward(const Head* m, const float* states, const float* outer, float* dmixed,
                           float* sums) {
  head_backward(*m, states, outer, dmixed, sums);
}

void surform_march_backward(const March* m, const Head* head, const float* start,
                            const float* states, const float* raw, const float* dmixed,
                            const float* slope, const float* offset, float* dstart, float* sums) {
  march_backward(*m, *head, start, states, raw, dmixed, slope, offset, dstart, sums);
}

void surform_mix(const Mixture* m, const float* x, const float* gates, float* raw, float* y) {
  mix(*m, x, gates, raw, y);
}

void surform_mix_backward(const Mixture* m, const float* x, const float* gates, const float* raw,
                          const float* outer, float* dx, float* dgates, float* sums) {
  mix_backward(*m, x, gates, raw, outer, dx, dgates, sums);
}

void surform_norm_and_pool(const Pooling* m, const float* u, float* moved, float* normal,
                           float* mean, float* sums) {
  norm_and_pool(*m, u, moved, normal, mean, sums);
}

void surform_norm_and_pool_backward(const Pooling* m, const float* moved, const float* dnormal,
                                    const float* dmean, const float* dmeans, const float* outer,
                                    float* du, float* sums) {
  norm_and_pool_backward(*m, moved, dnormal, dmean, dmeans, outer, du, sums);
}

void surform_axis_kernels(const AxisKernel* m, const float* z, float* queries, float* keys,
                          float* kernels) {
  axis_kernels(*m, z, queries, keys, kernels);
}

void surform_axis_kernels_backward(const AxisKernel* m, const float* z, const float* queries,
                                   const float* keys, const float* g, float* dz, float* dquery,
                                   float* dkey) {
  axis_kernels_backward(*m, z, queries, keys, g, dz, dquery, dkey);
}
}
