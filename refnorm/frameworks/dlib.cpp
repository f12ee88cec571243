// dlib's batch normalization behind C functions, for dlib.py: each returns nothing, or why dlib refused.
#include <dlib/cuda/tensor_tools.h>

#include <cstring>
#include <string>

using dlib::resizable_tensor;
using dlib::tensor;

namespace {

std::string said;

resizable_tensor made(const float* values, long n, long k, long nr, long nc) {
  resizable_tensor result(n, k, nr, nc);
  if (result.size()) std::memcpy(result.host(), values, result.size() * sizeof(float));
  return result;
}

void take(float* values, const tensor& from) {
  if (from.size()) std::memcpy(values, from.host(), from.size() * sizeof(float));
}

template <typename F>
const char* refused(F f) {
  try {
    f();
    return nullptr;
  } catch (const std::exception& error) {
    said = error.what();
    return said.c_str();
  }
}

}  // namespace

extern "C" const char* train(int conv, const long* s, const float* x, const float* gamma, const float* beta, float* mean,
                             float* var, double momentum, double eps, float* y, float* means, float* invstds) {
  return refused([&] {
    auto src = made(x, s[0], s[1], s[2], s[3]), g = made(gamma, 1, s[1], 1, 1), b = made(beta, 1, s[1], 1, 1);
    auto running_mean = made(mean, 1, s[1], 1, 1), running_var = made(var, 1, s[1], 1, 1);
    resizable_tensor out, m(1, s[1]), i(1, s[1]);  // dlib asks that they have their size already
    auto f = conv ? dlib::tt::batch_normalize_conv : dlib::tt::batch_normalize;
    f(eps, out, m, i, momentum, running_mean, running_var, src, g, b);
    take(y, out), take(mean, running_mean), take(var, running_var), take(means, m), take(invstds, i);
  });
}

extern "C" const char* infer(int conv, const long* s, const float* x, const float* gamma, const float* beta,
                             const float* mean, const float* var, double eps, float* y) {
  return refused([&] {
    auto src = made(x, s[0], s[1], s[2], s[3]), g = made(gamma, 1, s[1], 1, 1), b = made(beta, 1, s[1], 1, 1);
    auto m = made(mean, 1, s[1], 1, 1), v = made(var, 1, s[1], 1, 1);
    resizable_tensor out;
    auto f = conv ? dlib::tt::batch_normalize_conv_inference : dlib::tt::batch_normalize_inference;
    f(eps, out, src, g, b, m, v);
    take(y, out);
  });
}

extern "C" const char* back(int conv, const long* s, const float* dy, const float* means, const float* invstds,
                            const float* x, const float* gamma, double eps, float* dx, float* dgamma, float* dbeta) {
  return refused([&] {
    auto up = made(dy, s[0], s[1], s[2], s[3]), src = made(x, s[0], s[1], s[2], s[3]), g = made(gamma, 1, s[1], 1, 1);
    auto m = made(means, 1, s[1], 1, 1), i = made(invstds, 1, s[1], 1, 1);
    resizable_tensor there(s[0], s[1], s[2], s[3]), dg(1, s[1]), db(1, s[1]);
    there = 0;  // dlib adds to it
    auto f = conv ? dlib::tt::batch_normalize_conv_gradient : dlib::tt::batch_normalize_gradient;
    f(eps, up, m, i, src, g, there, dg, db);
    take(dx, there), take(dgamma, dg), take(dbeta, db);
  });
}
