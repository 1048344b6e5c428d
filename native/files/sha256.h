// SHA-256 through libcrypto, which uses the CPU's SHA instructions.
#pragma once
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace obd::files {

using Digest = std::array<uint8_t, 32>;

class Sha256 {
 public:
  Sha256();
  void update(const void* data, size_t size);
  void update(std::string_view bytes) { update(bytes.data(), bytes.size()); }
  // Length first, so that two neighbouring fields cannot be read as one.
  void field(std::string_view bytes);
  void number(uint64_t value);
  // The digest of what came so far; the object starts anew.
  Digest finish();

 private:
  struct Free {
    void operator()(EVP_MD_CTX* ctx) const { EVP_MD_CTX_free(ctx); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> ctx_;
};

// "sha256:<hex>".
std::string digest_string(const Digest& digest);

}  // namespace obd::files
