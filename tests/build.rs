//! Generates gRPC clients for etcd's services; their messages are the ones of `detcd-core`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=../core/proto");
    let descriptors = protox::compile(["etcdserverpb.proto", "v3lock.proto", "v3election.proto"], ["../core/proto"])?;
    tonic_prost_build::configure()
        .build_server(false)
        .extern_path(".etcdserverpb", "::detcd_core::proto::etcdserverpb")
        .extern_path(".mvccpb", "::detcd_core::proto::mvccpb")
        .extern_path(".v3lockpb", "::detcd_core::proto::v3lockpb")
        .extern_path(".v3electionpb", "::detcd_core::proto::v3electionpb")
        .compile_fds(descriptors)?;
    Ok(())
}
