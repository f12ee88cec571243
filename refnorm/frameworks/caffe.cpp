// Caffe's own BatchNorm and Scale layers behind four C functions, for caffe.py. The layers are the original sources.
#include <boost/make_shared.hpp>
#include <cstring>

#include "caffe/layers/batch_norm_layer.hpp"
#include "caffe/layers/scale_layer.hpp"

using caffe::Blob;
using caffe::LayerParameter;

namespace {

template <typename T>
void put(Blob<T>* blob, const T* values) {
  std::memcpy(blob->mutable_cpu_data(), values, blob->count() * sizeof(T));
}

template <typename T>
void take(T* values, const Blob<T>& blob) {
  std::memcpy(values, blob.cpu_data(), blob.count() * sizeof(T));
}

template <typename T>
void take_diff(T* values, const Blob<T>& blob) {
  std::memcpy(values, blob.cpu_diff(), blob.count() * sizeof(T));
}

template <typename T>
struct Pair {  // BatchNorm, then Scale
  boost::shared_ptr<caffe::BatchNormLayer<T>> norm;
  boost::shared_ptr<caffe::ScaleLayer<T>> scale;
  Blob<T> x, h, y;

  Pair(int axes, const int* shape, const T* data, const T* gamma, const T* beta, const T* mean, const T* var, T count,
       float fraction, float eps, bool test, bool global)
      : x(std::vector<int>(shape, shape + axes)) {
    LayerParameter of_norm, of_scale;
    of_norm.set_phase(test ? caffe::TEST : caffe::TRAIN);
    of_norm.mutable_batch_norm_param()->set_moving_average_fraction(fraction);
    of_norm.mutable_batch_norm_param()->set_eps(eps);
    if (global) of_norm.mutable_batch_norm_param()->set_use_global_stats(true);
    of_scale.mutable_scale_param()->set_bias_term(true);
    norm = boost::make_shared<caffe::BatchNormLayer<T>>(of_norm);
    scale = boost::make_shared<caffe::ScaleLayer<T>>(of_scale);
    put(&x, data);
    norm->SetUp({&x}, {&h});
    const T* sums[] = {mean, var, &count};
    for (int k = 0; k < 3; ++k) put(norm->blobs()[k].get(), sums[k]);
    norm->Forward({&x}, {&h});
    scale->SetUp({&h}, {&y});
    put(scale->blobs()[0].get(), gamma);
    put(scale->blobs()[1].get(), beta);
    scale->Forward({&h}, {&y});
  }

  void results(T* out, T* mean, T* var, T* count) {
    take(out, y);
    T* kept[] = {mean, var, count};
    for (int k = 0; k < 3; ++k) take(kept[k], *norm->blobs()[k]);
  }

  void backward(const T* dy, T* dx, T* dgamma, T* dbeta) {
    std::memcpy(y.mutable_cpu_diff(), dy, y.count() * sizeof(T));
    for (auto& parameter : scale->blobs()) caffe::caffe_set(parameter->count(), T(0), parameter->mutable_cpu_diff());
    scale->Backward({&y}, {true}, {&h});
    norm->Backward({&h}, {true}, {&x});
    take_diff(dx, x);
    take_diff(dgamma, *scale->blobs()[0]);
    take_diff(dbeta, *scale->blobs()[1]);
  }
};

}  // namespace

#define FOR(T, suffix)                                                                                               \
  extern "C" void* run_##suffix(int axes, const int* shape, const T* x, const T* gamma, const T* beta, T* mean,      \
                                T* var, T* count, float fraction, float eps, int test, int global, T* y) {           \
    auto* made = new Pair<T>(axes, shape, x, gamma, beta, mean, var, *count, fraction, eps, test, global);           \
    made->results(y, mean, var, count);                                                                              \
    return made;                                                                                                     \
  }                                                                                                                  \
  extern "C" void back_##suffix(void* pair, const T* dy, T* dx, T* dgamma, T* dbeta) {                               \
    static_cast<Pair<T>*>(pair)->backward(dy, dx, dgamma, dbeta);                                                    \
  }                                                                                                                  \
  extern "C" void free_##suffix(void* pair) { delete static_cast<Pair<T>*>(pair); }
FOR(float, float32)
FOR(double, float64)
