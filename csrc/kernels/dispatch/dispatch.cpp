// Choosing a path: by what the CPU can run, by PYEDGE_ISA, or by set_isa.
#include "kernels/dispatch/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "kernels/dispatch/tables.hpp"
#include "simd/cpu.hpp"

namespace pyedge {
namespace {

std::vector<const KernelTable*> available_tables() {
  std::vector<const KernelTable*> tables{&reference_table};
#if defined(__x86_64__)
  if (cpu_has_avx2()) tables.push_back(&avx2_table);
  if (cpu_has_avx512()) tables.push_back(&avx512_table);
#elif defined(__aarch64__)
  tables.push_back(&neon_table);
#endif
  return tables;
}

const KernelTable& find(const std::string& name, const char* asked_by) {
  std::string choices;
  for (const KernelTable* table : available_tables()) {
    if (name == table->name) return *table;
    choices += choices.empty() ? table->name : std::string(", ") + table->name;
  }
  throw std::invalid_argument(std::string(asked_by) + ": wanted an instruction set of this CPU (" +
                              choices + "), got '" + name + "'");
}

const KernelTable* choose() {
  const char* forced = std::getenv("PYEDGE_ISA");
  if (forced != nullptr && *forced != '\0') return &find(forced, "PYEDGE_ISA");
  return available_tables().back();
}

std::atomic<const KernelTable*>& current() {
  static std::atomic<const KernelTable*> table{choose()};
  return table;
}

}  // namespace

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const KernelTable* table : available_tables()) names.emplace_back(table->name);
  return names;
}

const KernelTable& kernel_table() {
  return *current().load(std::memory_order_relaxed);
}

const HalfKernels* half_kernels(const KernelTable& table) {
  if (&table == &reference_table) return &half_reference;
#if defined(PYEDGE_HALF_AVX512)
  if (&table == &avx512_table && cpu_has_avx512_bf16()) return &half_avx512;
#elif defined(PYEDGE_HALF_NEON)
  if (&table == &neon_table && cpu_has_neon_bf16()) return &half_neon;
#endif
  return nullptr;
}

const Int8Kernels* int8_kernels(const KernelTable& table) {
  if (&table == &reference_table) return &int8_reference;
#if defined(PYEDGE_INT8_AVX512)
  if (&table == &avx512_table && cpu_has_avx512_vnni()) return &int8_avx512;
#elif defined(PYEDGE_INT8_NEON)
  if (&table == &neon_table && cpu_has_neon_dotprod()) return &int8_neon;
#endif
  return nullptr;
}

void set_isa(const std::string& name) {
  current() = &find(name, "set_isa: name");
}

}  // namespace pyedge
