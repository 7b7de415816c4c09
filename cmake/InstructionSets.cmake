# The inner CPU kernels, <op>_isa.cpp, are compiled once per instruction set and chosen at run time,
# so one build serves every x86-64 machine. csrc/ops/simd/variants.h is the other half of this.
file(GLOB STAGEGATE_ISA_SOURCES CONFIGURE_DEPENDS csrc/ops/*/kernels/*_isa.cpp)

# name: of the target and, behind `k`, in C++'s enum InstructionSet. The rest are compiler options.
function(stagegate_add_instruction_set name)
  set(target stagegate_isa_${name})
  add_library(${target} OBJECT ${STAGEGATE_ISA_SOURCES})
  target_include_directories(${target} PRIVATE csrc)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Werror -O3 -ffp-contract=fast ${ARGN})
  target_compile_definitions(${target} PRIVATE STAGEGATE_INSTRUCTION_SET=k${name})
  target_link_libraries(${target} PRIVATE OpenMP::OpenMP_CXX)
  target_link_libraries(stagegate PRIVATE ${target})
endfunction()

stagegate_add_instruction_set(Portable)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(STAGEGATE_AVX512_FLAGS
    -mavx512f -mavx512bw -mavx512vl -mavx512bf16 -mfma -mf16c)
  stagegate_add_instruction_set(Avx2 -mavx2 -mfma -mf16c)
  stagegate_add_instruction_set(Avx512 ${STAGEGATE_AVX512_FLAGS})
  stagegate_add_instruction_set(Amx ${STAGEGATE_AVX512_FLAGS} -mamx-tile -mamx-bf16)
endif()
