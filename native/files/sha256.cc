#include "files/sha256.h"

#include <stdexcept>

namespace obd::files {

namespace {

// Fetched once: EVP_sha256() alone would look the implementation up at every init.
const EVP_MD* sha256_method() {
  static EVP_MD* method = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return method ? method : EVP_sha256();
}

void must(int ok) {
  if (ok != 1) throw std::runtime_error("libcrypto: SHA-256 is not available");
}

}  // namespace

Sha256::Sha256() : ctx_(EVP_MD_CTX_new()) {
  if (!ctx_) throw std::bad_alloc();
  must(EVP_DigestInit_ex2(ctx_.get(), sha256_method(), nullptr));
}

void Sha256::update(const void* data, size_t size) { must(EVP_DigestUpdate(ctx_.get(), data, size)); }

void Sha256::field(std::string_view bytes) {
  number(bytes.size());
  update(bytes);
}

void Sha256::number(uint64_t value) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; i++) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  update(bytes, sizeof bytes);
}

Digest Sha256::finish() {
  Digest out;
  must(EVP_DigestFinal_ex(ctx_.get(), out.data(), nullptr));
  must(EVP_DigestInit_ex2(ctx_.get(), nullptr, nullptr));
  return out;
}

std::string digest_string(const Digest& digest) {
  static const char* hex = "0123456789abcdef";
  std::string out = "sha256:";
  for (uint8_t byte : digest) {
    out += hex[byte >> 4];
    out += hex[byte & 15];
  }
  return out;
}

}  // namespace obd::files
